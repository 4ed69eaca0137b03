"""Deterministic automata over an alphabet's symbols, before UTF-8 spells them as bytes."""

from __future__ import annotations

from dataclasses import dataclass

from smoldiff.automata.dfa import DEAD

Row = list[int]


@dataclass(frozen=True, eq=False)
class SymbolDfa:
    """State 0 is the start; without states the language is empty."""

    rows: list[Row]
    """For each state the state behind each symbol, DEAD where none."""
    accepts: list[bool]

    def is_universal(self, state: int) -> bool:
        """Whether plainly every text is accepted from a state on."""
        return self.accepts[state] and all(target == state for target in self.rows[state])


def trim(dfa: SymbolDfa) -> SymbolDfa:
    """The same language, with only the states from which some text is accepted. All must be reachable."""
    sources: list[list[int]] = [[] for _ in dfa.rows]
    for state, row in enumerate(dfa.rows):
        for target in set(row) - {DEAD}:
            sources[target].append(state)
    frontier = [state for state, is_end in enumerate(dfa.accepts) if is_end]
    live = set(frontier)
    while frontier:
        new = [source for source in sources[frontier.pop()] if source not in live]
        live.update(new)
        frontier += new
    if len(live) == len(dfa.rows):
        return dfa
    if 0 not in live:
        return SymbolDfa([], [])
    kept = sorted(live)
    number = {state: i for i, state in enumerate(kept)}
    rows = [[number.get(target, DEAD) for target in dfa.rows[state]] for state in kept]
    return SymbolDfa(rows, [dfa.accepts[state] for state in kept])


def complement(dfa: SymbolDfa, num_symbols: int) -> SymbolDfa:
    """All other texts."""
    sink = len(dfa.rows)
    rows = [[sink if target == DEAD else target for target in row] for row in dfa.rows]
    return trim(SymbolDfa([*rows, [sink] * num_symbols], [*(not a for a in dfa.accepts), True]))
