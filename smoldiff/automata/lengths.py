"""The shortest JSON text of a string whose number of characters is bounded."""

from __future__ import annotations

from itertools import count

import numpy as np
from numpy.typing import NDArray

from smoldiff.automata.dfa import DEAD, Dfa
from smoldiff.automata.errors import TooComplex

MAX_LAYERS = 100_000
"""Characters that are followed one by one; repetition ends the walk far sooner for almost every language."""

_UNREACHED = np.iinfo(np.int64).max // 2
_CONTINUATION = (0x80, 0xC0)
# One character of JSON text: the byte ranges of each of its spellings.
_SPELLINGS = (
    ((0x20, 0x5C),),
    ((0x5D, 0x80),),
    ((0x5C, 0x5D), (0x22, 0x75)),
    ((0x5C, 0x5D), (0x75, 0x76), *((0x30, 0x67),) * 4),
    ((0xC0, 0xE0), _CONTINUATION),
    ((0xE0, 0xF0), _CONTINUATION, _CONTINUATION),
    ((0xF0, 0xF8), _CONTINUATION, _CONTINUATION, _CONTINUATION),
)


def shortest_string(dfa: Dfa, min_length: int, max_length: int | None) -> int | None:
    """Bytes of the shortest JSON text in `dfa` that spells `min_length` to `max_length` characters; None: there is none.

    `dfa` is a language of `string_content`. Raises TooComplex where more than MAX_LAYERS characters would have to be
    followed one by one. Dynamic programming over (characters, states); a layer that equals an earlier one up to a
    constant starts a period, and whole periods are skipped.
    """
    if dfa.is_empty or (max_length is not None and max_length < min_length):
        return None
    step = _Step(dfa)
    layer = np.full(len(dfa.accepts), _UNREACHED)
    layer[0] = 0
    layer = _advance(layer, step, min_length)
    best, seen = _UNREACHED, set()
    for _ in count() if max_length is None else range(max_length - min_length + 1):
        base = int(layer.min())
        if base >= best or (shape := _shape(layer, base)) in seen:
            break
        seen.add(shape)
        best = min(best, int(layer[dfa.accepts].min()))
        layer = step(layer)
    return best if best < _UNREACHED else None


def _advance(layer: NDArray[np.int64], step: _Step, num_chars: int) -> NDArray[np.int64]:
    """The layer behind `num_chars` more characters."""
    seen: dict[bytes, tuple[int, int]] = {}
    left = num_chars
    while left:
        base = int(layer.min())
        if base >= _UNREACHED:
            break
        left_before, base_before = seen.setdefault(_shape(layer, base), (left, base))
        if left_before > left:
            num_periods, left = divmod(left, left_before - left)
            layer[layer < _UNREACHED] += num_periods * (base - base_before)
            seen.clear()
            if not left:
                break
        elif len(seen) > MAX_LAYERS:
            raise TooComplex(f"lengths that need more than {MAX_LAYERS} characters followed")
        layer = step(layer)
        left -= 1
    return layer


def _shape(layer: NDArray[np.int64], base: int) -> bytes:
    return np.where(layer < _UNREACHED, layer - base, -1).tobytes()


class _Step:
    """One more character: a minimum over the ways into each state."""

    def __init__(self, dfa: Dfa) -> None:
        costs = _char_steps(dfa)
        edges = sorted((target, source, cost) for (source, target), cost in costs.items())
        targets, sources, step_bytes = np.array(edges, np.int64).reshape(-1, 3).T
        self.sources, self.step_bytes = sources, step_bytes
        self.targets, self.starts = np.unique(targets, return_index=True)

    def __call__(self, layer: NDArray[np.int64]) -> NDArray[np.int64]:
        after = np.full(len(layer), _UNREACHED)
        if len(self.targets):
            through = np.minimum(layer[self.sources] + self.step_bytes, _UNREACHED)
            after[self.targets] = np.minimum.reduceat(through, self.starts)
        return after


def _char_steps(dfa: Dfa) -> dict[tuple[int, int], int]:
    """The bytes of the shortest character from one state to another, for the states between characters."""
    ways = {
        bounds: _targets(dfa.table[:, bounds[0] : bounds[1]])
        for spelling in _SPELLINGS
        for bounds in spelling
    }
    costs: dict[tuple[int, int], int] = {}
    frontier, between = [0], {0}
    while frontier:
        source = frontier.pop()
        for spelling in _SPELLINGS:
            behind = {source}
            for bounds in spelling:
                behind = {target for state in behind for target in ways[bounds][state]}
            for target in behind:
                # Every character in JSON text has a spelling of at most six bytes.
                known = costs.get((source, target), 6)
                costs[source, target] = min(known, len(spelling))
            frontier += behind - between
            between |= behind
    return costs


def _targets(table: NDArray[np.int32]) -> list[set[int]]:
    """For each state the states behind some bytes."""
    return [set(row) - {DEAD} for row in table.tolist()]
