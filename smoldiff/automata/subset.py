"""The subset construction (Rabin and Scott, 1959), bounded, for automata whose only guards are text begin and end.

A set of nodes is a Python integer with one bit for each node that reads a symbol, waits for the end, or is the match.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from smoldiff.automata.alphabet import bits
from smoldiff.automata.dfa import DEAD
from smoldiff.automata.errors import TooComplex
from smoldiff.automata.nfa import MATCH, Nfa
from smoldiff.automata.pattern import Begin, End
from smoldiff.automata.symbols import Row, SymbolDfa

MAX_STEPS = 400_000
"""Elementary steps of one construction; about 0.2 s."""

_MATCHED = 1 << MATCH


@dataclass(frozen=True, slots=True)
class Search:
    """What counts as a match of a text."""

    restarts: bool = True
    """It may begin anywhere, not only at the start."""
    is_open: bool = True
    """It may end anywhere, not only at the end."""
    at_begin: bool = True
    """The start is where `^` holds."""


class Budget:
    """The steps that are left; raises TooComplex when they are spent."""

    def __init__(self, num_steps: int = MAX_STEPS) -> None:
        self.left = num_steps

    def spend(self, num_steps: int) -> None:
        self.left -= num_steps
        if self.left < 0:
            raise TooComplex("a pattern whose automaton takes too many steps to build")


def check_size(num_states: int, max_states: int) -> None:
    if num_states > max_states:
        raise TooComplex(f"an automaton of more than {max_states} states")


@dataclass
class _Sets:
    """The sets of an automaton's nodes, as masks over `stops`."""

    nfa: Nfa
    budget: Budget
    follow: dict[int, int] = field(default_factory=dict)

    @cached_property
    def stops(self) -> list[int]:
        """The nodes that a set may hold; MATCH is the first."""
        reads, guards = self.nfa.reads, self.nfa.guards
        return [
            n for n in range(len(reads)) if n == MATCH or reads[n] or isinstance(guards[n], End)
        ]

    @cached_property
    def bit(self) -> dict[int, int]:
        return {node: 1 << i for i, node in enumerate(self.stops)}

    def reading(self, num_symbols: int) -> list[int]:
        """For each symbol, the set of nodes that read it."""
        masks = [0] * num_symbols
        for i, node in enumerate(self.stops):
            for symbol in bits(self.nfa.reads[node]):
                masks[symbol] |= 1 << i
            self.budget.spend(1 + self.nfa.reads[node].bit_count())
        return masks

    def closure(self, nodes: list[int], at_begin: bool, at_end: bool = False) -> int:
        """What silent steps reach from some nodes."""
        nfa, bit = self.nfa, self.bit
        found, seen, stack = 0, set(nodes), list(nodes)
        while stack:
            node = stack.pop()
            guard = nfa.guards[node]
            found |= bit.get(node, 0)
            if isinstance(guard, Begin):
                is_passed = at_begin
            elif isinstance(guard, End):
                is_passed = at_end
            else:
                is_passed = not nfa.reads[node]
            if is_passed:
                new = [target for target in nfa.targets[node] if target not in seen]
                seen.update(new)
                stack += new
        self.budget.spend(len(seen))
        return found

    def behind(self, stops: int) -> int:
        """What is reached when every stop of a set reads its symbol."""
        reached = 0
        for i in bits(stops):
            target = self.nfa.targets[self.stops[i]][0]
            if target not in self.follow:
                self.follow[target] = self.closure([target], at_begin=False)
            reached |= self.follow[target]
        self.budget.spend(1 + stops.bit_count())
        return reached

    def first(self, search: Search) -> int:
        """The set at the start of the text; marked where it accepts only for being at the start."""
        stops = self.closure([self.nfa.start], search.at_begin)
        in_empty_text = self.closure([self.nfa.start], search.at_begin, at_end=True)
        return stops | (
            self.start_mark if in_empty_text & _MATCHED and not stops & self.ends else 0
        )

    @cached_property
    def start_mark(self) -> int:
        return 1 << len(self.stops)

    @cached_property
    def ends(self) -> int:
        """The stops from which the end of the text completes the match, and the start's mark."""
        waiting = [n for n in self.stops if isinstance(self.nfa.guards[n], End)]
        done = [n for n in waiting if self.closure([n], at_begin=False, at_end=True) & _MATCHED]
        return _MATCHED | self.start_mark | sum(self.bit[n] for n in done)


def subset_construction(
    nfa: Nfa, num_symbols: int, search: Search, max_states: int, budget: Budget
) -> SymbolDfa:
    """The texts that the automaton matches. Its guards are Begin and End only. Raises TooComplex."""
    sets = _Sets(nfa, budget)
    masks = sets.reading(num_symbols)
    again = sets.closure([nfa.start], at_begin=False) if search.restarts else 0
    order: list[int] = []
    numbers: dict[int, int] = {}
    memo: dict[int, int] = {}
    rows: list[Row] = []

    def number(stops: int) -> int:
        if search.is_open and stops & _MATCHED:
            stops = _MATCHED
        if stops and stops not in numbers:
            numbers[stops] = len(order)
            order.append(stops)
        return numbers.get(stops, DEAD)

    def step(stops: int) -> int:
        if stops not in memo:
            memo[stops] = number(sets.behind(stops) | again)
        return memo[stops]

    number(sets.first(search))
    for state, stops in enumerate(order):
        if search.is_open and stops == _MATCHED:
            rows.append([state] * num_symbols)
        else:
            rows.append([step(stops & mask) for mask in masks])
        budget.spend(num_symbols // 4)
        check_size(len(order), max_states)
    return SymbolDfa(rows, [bool(stops & sets.ends) for stops in order])
