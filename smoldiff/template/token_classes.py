"""Tokens sorted into classes that a byte automaton cannot tell apart: the step from bytes to tokens.

Two byte strings belong to one class if they lead every state to the same state: the classes are the elements of the
automaton's transition monoid (McNaughton & Papert, 1971). One walk over the vocabulary's trie names the class of every
node, and a class is worked out once, however many nodes share it: thousands of words cost what one of them costs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smoldiff.automata.dfa import DEAD
from smoldiff.template.trie import Ints, Trie, spans

MAX_PATHS = 1 << 22
"""Paths (class, state, state) that one language may have."""
_CHUNK = 1 << 19  # paths worked out together: bounds the memory
_ROWS = 1 << 10  # states looked at together
_FEW = 1 << 14  # below this many paths the cheaper way is not worth looking for
_UNKNOWN, _PENDING = -1, -2
_NOWHERE, _EMPTY = 0, 1  # the class that leads nowhere, and that of the empty string


class AutomatonTooLarge(Exception):
    """A language takes more than MAX_PATHS paths, or edges.MAX_EDGES edges, over this vocabulary."""


@dataclass(frozen=True, eq=False)
class Paths:
    """What the tokens of a vocabulary do in a byte automaton: a row for each class and state that it can leave."""

    token_ids: Ints
    """Tokens that some state allows, sorted."""
    classes: Ints
    """The class of each of them, 0..C-1."""
    source: Ints
    cls: Ints
    target: Ints
    chars: Ints
    """Characters that a token of this class completes from this state."""


def token_paths(table: NDArray[np.int32], chars: NDArray[np.int8], trie: Trie) -> Paths:
    """Every path of one token. `table` [S, 256] as in Dfa; `chars` [S, 256]: characters that a byte completes.

    Raises AutomatonTooLarge.
    """
    byte_class, first = _byte_classes(table, chars)
    monoid = _Monoid(table[:, first], chars[:, first])
    found_nodes, found_classes = [], []
    nodes, classes = np.zeros(1, np.int64), np.full(1, _EMPTY)
    while len(nodes):
        parents, nodes = trie.children(nodes)
        classes = monoid.step(classes[parents] * monoid.width + byte_class[trie.byte[nodes]])
        is_alive = classes != _NOWHERE
        nodes, classes = nodes[is_alive], classes[is_alive]
        found_nodes.append(nodes)
        found_classes.append(classes)
    owners, ids = trie.tokens(np.concatenate(found_nodes))
    class_of = np.full(len(trie.token_bytes), _NOWHERE)
    class_of[ids] = np.concatenate(found_classes)[owners]
    return _paths(monoid, class_of)


def _paths(monoid: _Monoid, class_of: Ints) -> Paths:
    ids = np.flatnonzero(class_of)
    classes = class_of[ids]
    used = np.zeros(monoid.num_classes, np.bool_)
    used[classes] = True
    kept = np.flatnonzero(used)
    numbers = np.cumsum(used) - 1
    owners, rows = monoid.rows(kept)
    source, target, chars = (column[rows].astype(np.int64) for column in monoid.columns)
    return Paths(ids, numbers[classes], source, owners, target, chars)


def _byte_classes(table: NDArray[np.int32], chars: NDArray[np.int8]) -> tuple[Ints, Ints]:
    """The class of each byte (equal columns of the table), and the first byte of each class."""
    hashes = np.zeros(256, np.uint64)
    for start in range(0, len(table), _ROWS):
        rows = slice(start, start + _ROWS)
        salt = mixed(np.arange(start, start + len(table[rows])))
        hashes += ((table[rows] * 2 + chars[rows]).astype(np.uint64) * salt[:, None]).sum(0)
    _, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    return inverse, first


def mixed(numbers: NDArray[np.integer]) -> NDArray[np.uint64]:
    """Well-spread 64-bit hashes of integers; a set's hash is their sum (the finaliser of SplitMix64; Steele et al., 2014)."""
    x = numbers.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


class _Monoid:
    """The classes of byte strings found so far, each as its rows (source, target, chars), and the steps among them."""

    def __init__(self, table: NDArray[np.int32], chars: NDArray[np.int8]) -> None:
        num_states, self.width = table.shape
        self._table, self._chars = table, chars
        states = np.arange(num_states, dtype=np.int32)
        self.columns: list[NDArray[Any]] = [states, states, np.zeros(num_states, np.int16)]
        self._ends = np.array([0, num_states])
        self._by_hash = {0: _NOWHERE, -1: _EMPTY}
        self._next = np.full((2, self.width), _UNKNOWN)
        self._next[_NOWHERE] = _NOWHERE
        source, byte = np.nonzero(
            table != DEAD
        )  # each state's ways out, for languages with few of them
        self._way_byte, self._way_start = byte, np.searchsorted(source, np.arange(num_states + 1))

    @property
    def num_classes(self) -> int:
        return len(self._ends)

    def rows(self, classes: Ints) -> tuple[Ints, Ints]:
        """The rows of some classes: for each the index of its class in `classes`, and its place."""
        ends = self._ends[classes]
        starts = np.where(classes == 0, 0, self._ends[classes - 1])
        return spans(starts, ends - starts)

    def step(self, keys: Ints) -> Ints:
        """The class behind each key (class * width + byte class)."""
        behind = self._next.ravel()[keys]
        is_unknown = behind == _UNKNOWN
        if is_unknown.any():
            self._find(keys[is_unknown])
            behind = self._next.ravel()[keys]
        return behind

    def _find(self, keys: Ints) -> None:
        """Work out the classes behind some keys."""
        table = self._next.ravel()
        table[keys] = _PENDING
        keys = np.flatnonzero(table == _PENDING)
        table[keys] = _NOWHERE
        sizes = np.diff(self._ends, prepend=0)[keys // self.width]
        if sizes.sum() < _FEW:
            return self._name(*self._by_key(keys))
        classes = np.unique(keys // self.width)
        ways = self._num_ways(classes)
        if ways.sum() < sizes.sum():
            is_asked = np.zeros(self._next.size, np.bool_)
            is_asked[keys] = True
            for some in _chunks(classes, ways):
                self._name(*self._by_way(some, is_asked))
        else:
            for some in _chunks(keys, sizes):
                self._name(*self._by_key(some))

    def _by_key(self, keys: Ints) -> tuple[Ints, Ints, Ints]:
        """Key, row and byte class of every row of the asked classes, for each byte asked: best for wide states."""
        owners, rows = self.rows(keys // self.width)
        return keys[owners], rows, keys[owners] % self.width

    def _by_way(self, classes: Ints, is_asked: NDArray[np.bool_]) -> tuple[Ints, Ints, Ints]:
        """The same, from the bytes that each state allows: best for many states of few ways out."""
        owners, rows = self.rows(classes)
        states = self.columns[1][rows]
        starts = self._way_start[states]
        again, ways = spans(starts, self._way_start[states + 1] - starts)
        byte = self._way_byte[ways]
        key = classes[owners[again]] * self.width + byte
        wanted = np.flatnonzero(is_asked[key])
        wanted = wanted[np.argsort(key[wanted], kind="stable")]
        return key[wanted], rows[again[wanted]], byte[wanted]

    def _num_ways(self, classes: Ints) -> Ints:
        owners, rows = self.rows(classes)
        states = self.columns[1][rows]
        counts = self._way_start[states + 1] - self._way_start[states]
        return np.bincount(owners, counts, len(classes)).astype(np.int64)

    def _name(self, key: Ints, row: Ints, byte: Ints) -> None:
        """Find or add the class behind each key, from the rows that it has; `key` is sorted."""
        state = self.columns[1][row]
        target = self._table[state, byte]
        alive = np.flatnonzero(target != DEAD)
        if not len(alive):
            return
        key, row, target = key[alive], row[alive], target[alive]
        source = self.columns[0][row]
        chars = self.columns[2][row] + self._chars[state[alive], byte[alive]]
        firsts = np.flatnonzero(np.diff(key, prepend=-1))
        hashes = np.add.reduceat(mixed(packed(source, target, chars)), firsts)
        num_known = self.num_classes
        behind = [self._by_hash.setdefault(h, len(self._by_hash)) for h in hashes.tolist()]
        classes, at = np.unique(behind, return_index=True)
        at = at[classes >= num_known]
        sizes = np.diff(firsts, append=len(key))[at]
        self._append(spans(firsts[at], sizes)[1], sizes, (source, target, chars))
        self._next.ravel()[key[firsts]] = behind

    def _append(self, rows: Ints, sizes: Ints, columns: tuple[NDArray[np.integer], ...]) -> None:
        if self._ends[-1] + len(rows) > MAX_PATHS:
            raise AutomatonTooLarge(f"more than {MAX_PATHS} paths of one token")
        self.columns = [
            np.concatenate([old, new[rows]]) for old, new in zip(self.columns, columns, strict=True)
        ]
        self._ends = np.concatenate([self._ends, self._ends[-1] + np.cumsum(sizes)])
        unknown = np.full((len(sizes), self.width), _UNKNOWN)
        self._next = np.concatenate([self._next, unknown])


def _chunks(items: Ints, sizes: Ints) -> list[Ints]:
    """The items in pieces of about _CHUNK each."""
    pieces = np.cumsum(sizes) // _CHUNK
    return np.split(items, np.flatnonzero(np.diff(pieces)) + 1)


def packed(
    source: NDArray[np.integer], target: NDArray[np.integer], chars: NDArray[np.integer]
) -> Ints:
    """One number for each path."""
    return (source.astype(np.int64) << 40) | (target.astype(np.int64) << 12) | chars
