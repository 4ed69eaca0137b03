"""Automata over symbols spelled as automata over UTF-8 bytes.

A scalar value beyond ASCII is read along a trie of its bytes whose leaves are symbols. Each trie node becomes, behind a
state, the state "this far into a character"; those with the same ways on are one.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from smoldiff.automata.alphabet import Alphabet
from smoldiff.automata.charset import LAST
from smoldiff.automata.dfa import DEAD, Dfa
from smoldiff.automata.subset import check_size
from smoldiff.automata.symbols import SymbolDfa

Segments = tuple[tuple[int, int, int], ...]

# Lead bytes of two-, three- and four-byte characters, with the smallest scalar value that may take so many.
_LEADS = ((0xC0, 0xE0, 0x80), (0xE0, 0xF0, 0x800), (0xF0, 0xF8, 0x10000))


class _Trie:
    """The continuation bytes of all characters. Node 0 of a level is the one without a way on."""

    def __init__(self, segments: Segments, num_symbols: int) -> None:
        self.dead_symbol = num_symbols
        self.segments = segments
        self.levels: list[dict[tuple[int, ...], int]] = [{}, {}, {}]
        self.leads: list[tuple[int, int, int]] = []
        for level, (first, end, smallest) in enumerate(_LEADS):
            self.node(level, ((0, LAST, self.dead_symbol),), 0)
            for lead in range(first, end):
                base = (lead - first) << 6 * (level + 1)
                node = self.node(level, self.within(base, base + 64 ** (level + 1), smallest), base)
                self.leads.append((lead, level, node))

    def within(self, start: int, end: int, smallest: int) -> Segments:
        """The segments from `start` to `end`, with dead ones where no character may be."""
        found: list[tuple[int, int, int]] = []
        at = start
        for first, last, symbol in self.segments:
            low, high = max(first, start, smallest), min(last, end - 1)
            if low <= high:
                found += [(at, low - 1, self.dead_symbol)] if at < low else []
                found.append((low, high, symbol))
                at = high + 1
        return (*found, *([(at, end - 1, self.dead_symbol)] if at < end else []))

    def node(self, level: int, segments: Segments, base: int) -> int:
        """The node for the block of 64 ** (level + 1) scalar values at `base`, which the segments cover."""
        step = 64**level
        children: list[int] = []
        for first, last, symbol in segments:
            while len(children) < 64 and base + len(children) * step <= last:
                low = base + len(children) * step
                num_whole = (
                    (min(last, base + 64 * step - 1) + 1 - low) // step if first <= low else 0
                )
                if num_whole:
                    child = symbol if level == 0 else self.uniform(level - 1, symbol)
                    children += [child] * num_whole
                else:
                    block = _clip(segments, low, low + step)
                    children.append(self.node(level - 1, block, low))
        return self.levels[level].setdefault(tuple(children), len(self.levels[level]))

    def uniform(self, level: int, symbol: int) -> int:
        return self.node(level, ((0, LAST, symbol),), 0)


def _clip(segments: Segments, start: int, end: int) -> Segments:
    return tuple(
        (max(first, start), min(last, end - 1), symbol)
        for first, last, symbol in segments
        if first < end and last >= start
    )


@lru_cache(maxsize=64)
def _trie(segments: Segments, num_symbols: int) -> _Trie:
    return _Trie(segments, num_symbols)


def spell(dfa: SymbolDfa, alphabet: Alphabet, max_states: int) -> Dfa:
    """The UTF-8 texts of a language. The automaton must be trimmed. Raises TooComplex past `max_states`."""
    num_symbols = alphabet.num_symbols
    num_states = len(dfa.rows)
    if not num_states:
        return Dfa(np.zeros((0, 256), np.int32), np.zeros(0, np.bool_))
    segments = tuple((max(a, 0x80), b, s) for a, b, s in alphabet.segments if b >= 0x80)
    trie = _trie(segments, num_symbols)
    steps = np.full((num_states, num_symbols + 1), DEAD, np.int32)
    steps[:, :num_symbols] = dfa.rows
    tables: list[NDArray[np.int32]] = []
    behind: list[NDArray[np.int32]] = []
    ways, total = steps, num_states
    for level in trie.levels:
        ways, table = _spell_level(ways, level, total)
        total += len(table)
        check_size(total, max_states)
        tables.append(table)
        behind.append(ways)
    top = np.full((num_states, 256), DEAD, np.int32)
    for first, last, symbol in alphabet.segments:
        top[:, first : min(last, 0x7F) + 1] = steps[:, symbol, None] if first < 0x80 else DEAD
    for lead, depth, node in trie.leads:
        top[:, lead] = behind[depth][:, node]
    accepts = np.zeros(total, np.bool_)
    accepts[:num_states] = dfa.accepts
    return Dfa(np.concatenate([top, *tables]), accepts)


def _spell_level(
    ways: NDArray[np.int32], level: dict[tuple[int, ...], int], num_before: int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The states of one trie level. Returns [states, nodes], what each node is behind each state, and their table."""
    result = np.full((len(ways), len(level)), DEAD, np.int32)
    tables: list[NDArray[np.int32]] = []
    for children, node in level.items():
        distinct, where = np.unique(np.array(children), return_inverse=True)
        kinds, kind = np.unique(ways[:, distinct], axis=0, return_inverse=True)
        is_live = (kinds != DEAD).any(1)
        number = np.where(is_live, num_before + np.cumsum(is_live) - 1, DEAD)
        result[:, node] = number[kind.reshape(-1)]
        table = np.full((int(is_live.sum()), 256), DEAD, np.int32)
        table[:, 0x80:0xC0] = kinds[is_live][:, where]
        tables.append(table)
        num_before += len(table)
    return result, np.concatenate(tables)
