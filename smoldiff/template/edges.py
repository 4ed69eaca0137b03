"""The edges of a token automaton, one for each state and class allowed there, and what is done to all of them at once."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from smoldiff.template.token_classes import AutomatonTooLarge, mixed, packed
from smoldiff.template.trie import Ints, spans

MAX_EDGES = 1 << 21
"""Edges that an automaton may have while its characters are counted."""
_UNREACHED = -1


@dataclass(frozen=True, eq=False)
class Edges:
    """Parallel arrays [E]; state 0 is the start."""

    source: Ints
    cls: Ints
    target: Ints
    chars: Ints
    """Characters that the edge's tokens complete."""

    def __len__(self) -> int:
        return len(self.source)

    def pick(self, rows: Ints | NDArray[np.bool_]) -> Edges:
        return Edges(self.source[rows], self.cls[rows], self.target[rows], self.chars[rows])


def trimmed(
    edges: Edges, accepts: NDArray[np.bool_]
) -> tuple[Edges, NDArray[np.bool_], int | None]:
    """Only the states that some accepted text passes through, numbered anew, and the fewest edges of such a text."""
    num_states = len(accepts)
    behind = _distances(edges.source, edges.target, np.zeros(1, np.int64), num_states)
    ahead = _distances(edges.target, edges.source, np.flatnonzero(accepts), num_states)
    is_kept = (behind != _UNREACHED) & (ahead != _UNREACHED)
    if not num_states or not is_kept[0]:
        return edges.pick(np.zeros(0, np.int64)), np.zeros(0, np.bool_), None
    numbers = np.cumsum(is_kept) - 1
    kept = edges.pick(is_kept[edges.source] & is_kept[edges.target])
    source, target = numbers[kept.source], numbers[kept.target]
    return Edges(source, kept.cls, target, kept.chars), accepts[is_kept], int(ahead[0])


def _distances(source: Ints, target: Ints, starts: Ints, num_states: int) -> Ints:
    """Edges of the shortest way from `starts` to each state (breadth first), _UNREACHED where there is none."""
    order = np.argsort(source, kind="stable")
    first = np.searchsorted(source[order], np.arange(num_states + 1))
    follows = target[order]
    distances = np.full(num_states, _UNREACHED)
    frontier, distance = starts[:num_states], 0
    while len(frontier):
        distances[frontier] = distance
        reached = follows[spans(first[frontier], first[frontier + 1] - first[frontier])[1]]
        reached = reached[distances[reached] == _UNREACHED]
        distances[reached] = distance = distance + 1
        frontier = np.unique(reached)
    return distances


def counted(
    edges: Edges,
    accepts: NDArray[np.bool_],
    min_chars: int,
    max_chars: int | None,
    max_tokens: int,
) -> tuple[Edges, NDArray[np.bool_]]:
    """The product with a counter of characters: the texts within the bounds. Not trimmed.

    A bound that no text of up to `max_tokens` tokens can break is left out. Raises AutomatonTooLarge.
    """
    if max_chars is not None and _most_chars(edges, accepts, max_tokens, max_chars) <= max_chars:
        max_chars = None
    top = min_chars if max_chars is None else max_chars
    if not top and max_chars is None:
        return replace(edges, chars=np.zeros_like(edges.chars)), accepts
    if not len(edges):
        return edges, accepts & (min_chars == 0)
    if len(edges) * (top + 1) > MAX_EDGES:
        raise AutomatonTooLarge(f"counting {top} characters takes more than {MAX_EDGES} edges")
    before = np.tile(np.arange(top + 1), len(edges))
    rows = np.repeat(np.arange(len(edges)), top + 1)
    after = before + edges.chars[rows]
    if max_chars is None:
        after = np.minimum(after, top)
    else:
        kept = np.flatnonzero(after <= top)
        rows, before, after = rows[kept], before[kept], after[kept]
    source = edges.source[rows] * (top + 1) + before
    target = edges.target[rows] * (top + 1) + after
    is_enough = np.arange(top + 1) >= min_chars
    product = Edges(source, edges.cls[rows], target, np.zeros_like(source))
    return product, (accepts[:, None] & is_enough).ravel()


def _most_chars(edges: Edges, accepts: NDArray[np.bool_], max_tokens: int, enough: int) -> int:
    """The most characters of an accepted text of up to `max_tokens` tokens; counts no further than past `enough`."""
    chars = np.full(len(accepts), -1)
    chars[:1] = 0
    most = -1
    for _ in range(max_tokens + 1):
        most = max(most, int(chars.max(where=accepts, initial=-1)))
        possible = np.flatnonzero(chars[edges.source] >= 0)
        if most > enough or not len(possible):
            break
        ways = edges.pick(possible)
        longer = np.full(len(accepts), -1)
        np.maximum.at(longer, ways.target, chars[ways.source] + ways.chars)
        chars = longer
    return most


def merged_classes(edges: Edges, num_classes: int) -> tuple[Edges, Ints]:
    """One class for those of equal edges: the edges, and the new number of each class (-1 where it has no edge)."""
    hashes = np.zeros(num_classes, np.uint64)
    np.add.at(hashes, edges.cls, mixed(packed(edges.source, edges.target, edges.chars)))
    is_used = np.bincount(edges.cls, minlength=num_classes) > 0
    _, firsts, inverse = np.unique(hashes[is_used], return_index=True, return_inverse=True)
    numbers = np.full(num_classes, -1)
    numbers[is_used] = inverse
    is_first = np.zeros(num_classes, np.bool_)
    is_first[np.flatnonzero(is_used)[firsts]] = True
    kept = edges.pick(is_first[edges.cls])
    order = np.lexsort((numbers[kept.cls], kept.source))
    return Edges(kept.source, numbers[kept.cls], kept.target, kept.chars).pick(order), numbers
