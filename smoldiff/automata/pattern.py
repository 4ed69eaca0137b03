"""Syntax trees of ECMA-262 patterns, and their size in character positions."""

from __future__ import annotations

from dataclasses import dataclass

from smoldiff.automata.charset import Charset


@dataclass(frozen=True, slots=True)
class Chars:
    """One character out of a set."""

    charset: Charset


@dataclass(frozen=True, slots=True)
class Sequence:
    """One part after the other; the empty text when there is none."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the options."""

    options: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """The body `least` to `most` times; None: no limit."""

    body: Node
    least: int
    most: int | None


@dataclass(frozen=True, slots=True)
class Begin:
    """The place before the first character."""


@dataclass(frozen=True, slots=True)
class End:
    """The place behind the last character."""


@dataclass(frozen=True, slots=True)
class Look:
    """A place before (`is_behind`: after) which the body matches, or does not (`is_negative`)."""

    body: Node
    is_behind: bool
    is_negative: bool


Node = Chars | Sequence | Choice | Repeat | Begin | End | Look

EMPTY = Sequence(())


def num_positions(node: Node) -> int:
    """How many character positions the automaton of the node will have, its repetitions written out."""
    match node:
        case Chars():
            return 1
        case Sequence(parts) | Choice(parts):
            return 1 + sum(map(num_positions, parts))
        case Repeat(body, least, most):
            copies = max(least, 1) if most is None else most
            return 1 + copies * num_positions(body)
        case Look(body):
            return 1 + num_positions(body)
        case Begin() | End():
            return 1
