"""Syntax trees as nondeterministic automata over an alphabet's symbols (Thompson, 1968), with guarded silent steps.

A node either reads one symbol or steps silently; a silent step may be guarded by what holds at that place of the text.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import assert_never

from smoldiff.automata.alphabet import Alphabet
from smoldiff.automata.errors import TooComplex
from smoldiff.automata.pattern import (
    Begin,
    Chars,
    Choice,
    End,
    Look,
    Node,
    Repeat,
    Sequence,
    num_positions,
)

MAX_POSITIONS = 20_000

MATCH = 0
"""The node that stands for a completed match."""


@dataclass
class Nfa:
    """Parallel lists with one entry a node; node MATCH has no way on."""

    reads: list[int] = field(default_factory=lambda: [0])
    """Mask of the symbols that a node reads; 0 for silent nodes."""
    targets: list[list[int]] = field(default_factory=lambda: [[]])
    """Where each node leads."""
    guards: list[Begin | End | Look | None] = field(default_factory=lambda: [None])
    """What must hold for a silent node to be passed."""
    start: int = MATCH

    def add(self, reads: int, targets: list[int], guard: Begin | End | Look | None = None) -> int:
        self.reads.append(reads)
        self.targets.append(targets)
        self.guards.append(guard)
        return len(self.reads) - 1

    @property
    def looks(self) -> tuple[Look, ...]:
        """The distinct lookarounds that guard a step."""
        return tuple(dict.fromkeys(g for g in self.guards if isinstance(g, Look)))


def nfa_of(node: Node, alphabet: Alphabet) -> Nfa:
    """The automaton of a tree. Raises TooComplex where it would have more than MAX_POSITIONS positions."""
    size = num_positions(node)
    if size > MAX_POSITIONS:
        raise TooComplex(f"a pattern of {size} positions, repetitions written out")
    nfa = Nfa()
    nfa.start = _build(nfa, node, MATCH, alphabet)
    return nfa


def _build(nfa: Nfa, node: Node, then: int, alphabet: Alphabet) -> int:
    """Adds the nodes of a tree that goes on at `then`; gives the node that it begins with."""
    match node:
        case Chars(charset):
            symbols = alphabet.members[charset]
            return nfa.add(symbols, [then] if symbols else [])
        case Sequence(parts):
            for part in reversed(parts):
                then = _build(nfa, part, then, alphabet)
            return then
        case Choice(options):
            return nfa.add(0, [_build(nfa, option, then, alphabet) for option in options])
        case Repeat():
            return _build_repeat(nfa, node, then, alphabet)
        case Begin() | End() | Look():
            return nfa.add(0, [then], node)
        case _:
            assert_never(node)


def _build_repeat(nfa: Nfa, node: Repeat, then: int, alphabet: Alphabet) -> int:
    entry, num_left = then, node.least
    if node.most is None:
        loop = nfa.add(0, [])
        body = _build(nfa, node.body, loop, alphabet)
        nfa.targets[loop] = [body, then]
        entry, num_left = (body, num_left - 1) if num_left else (loop, 0)
    else:
        for _ in range(node.most - node.least):
            entry = nfa.add(0, [_build(nfa, node.body, entry, alphabet), then])
    for _ in range(num_left):
        entry = _build(nfa, node.body, entry, alphabet)
    return entry
