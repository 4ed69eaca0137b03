"""The shortest JSON text of a string whose number of characters is bounded."""

from __future__ import annotations

from functools import partial, reduce
from itertools import chain, count

import numpy as np
from numpy.typing import NDArray

from smoldiff.automata.dfa import DEAD, Dfa
from smoldiff.automata.errors import TooComplex

MAX_LAYERS = 100_000
"""Characters that are followed one by one; repetition ends the walk far sooner for almost every language."""

_UNREACHED = np.iinfo(np.int64).max // 2
Pairs = NDArray[np.int64]

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
        sources, targets, num_bytes = _char_steps(dfa)
        order = np.argsort(targets, kind="stable")
        self.sources, self.num_bytes = sources[order], num_bytes[order]
        self.targets, self.starts = np.unique(targets[order], return_index=True)

    def __call__(self, layer: NDArray[np.int64]) -> NDArray[np.int64]:
        after = np.full(len(layer), _UNREACHED)
        if len(self.targets):
            through = np.minimum(layer[self.sources] + self.num_bytes, _UNREACHED)
            after[self.targets] = np.minimum.reduceat(through, self.starts)
        return after


def _char_steps(dfa: Dfa) -> tuple[Pairs, Pairs, Pairs]:
    """Sources, targets and bytes of the shortest character from one state to another, for the states between characters."""
    num_states = len(dfa.accepts)
    ways = {bounds: _ways(dfa.table, bounds) for bounds in set(chain(*_SPELLINGS))}
    found = [
        (reduce(partial(_joined, num_states=num_states), map(ways.__getitem__, spelling)), spelling)
        for spelling in _SPELLINGS
    ]
    pairs = np.concatenate([some for some, _ in found])
    num_bytes = np.concatenate([np.full(len(some), len(spelling)) for some, spelling in found])
    order = np.lexsort((num_bytes, pairs))  # the first of equal pairs is the shortest
    pairs, first = np.unique(pairs[order], return_index=True)
    sources, targets = np.divmod(pairs, num_states)
    is_between = _reached(sources, targets, num_states)[sources]
    return sources[is_between], targets[is_between], num_bytes[order][first][is_between]


def _ways(table: NDArray[np.int32], bounds: tuple[int, int]) -> Pairs:
    """Each state with each state behind one byte within the bounds: source * states + target, in ascending order."""
    part = table[:, slice(*bounds)]
    sources, columns = np.nonzero(part != DEAD)
    return np.unique(sources * len(table) + part[sources, columns])


def _joined(first: Pairs, second: Pairs, num_states: int) -> Pairs:
    """The pairs of states that a step of each leads through."""
    sources, middles = np.divmod(first, num_states)
    starts = np.searchsorted(second, middles * num_states)
    counts = np.searchsorted(second, (middles + 1) * num_states) - starts
    offsets = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    targets = second[np.repeat(starts, counts) + offsets] % num_states
    return np.unique(np.repeat(sources, counts) * num_states + targets)


def _reached(sources: Pairs, targets: Pairs, num_states: int) -> NDArray[np.bool_]:
    """The states that some text leads to; the sources are in ascending order."""
    bounds = np.searchsorted(sources, np.arange(num_states + 1)).tolist()
    is_reached = np.zeros(num_states, np.bool_)
    is_reached[0] = True
    frontier = [0]
    while frontier:
        state = frontier.pop()
        behind = targets[bounds[state] : bounds[state + 1]]
        new = behind[~is_reached[behind]]
        is_reached[new] = True
        frontier += new.tolist()
    return is_reached
