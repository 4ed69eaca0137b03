"""The tokens of a vocabulary as a trie of their bytes, in arrays that numpy walks level by level."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from smoldiff.template.vocabulary import Vocabulary

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Trie:
    """The ordinary tokens of a vocabulary: no added (control) ones, and none without bytes.

    Node 0 is the root. Nodes are numbered level by level, so the children of a node are neighbours.
    """

    byte: NDArray[np.uint8]
    """[nodes]: the byte that leads to a node."""
    first_child: Ints
    """[nodes + 1]: the children of node n are first_child[n]:first_child[n + 1]."""
    first_token: Ints
    """[nodes + 1]: the tokens that end at node n are token_ids[first_token[n]:first_token[n + 1]]."""
    token_ids: Ints
    token_bytes: tuple[bytes, ...]
    """The bytes of every token id of the vocabulary."""
    max_bytes: int
    """The length of the longest token."""

    @classmethod
    def of(cls, vocabulary: Vocabulary) -> Trie:
        """The trie of a vocabulary, built once."""
        known = _TRIES.get(vocabulary)
        if known is None:
            known = _TRIES[vocabulary] = _build(vocabulary)
        return known

    def children(self, nodes: Ints) -> tuple[Ints, Ints]:
        """The children of some nodes: for each the index of its parent in `nodes`, and the child itself."""
        starts = self.first_child[nodes]
        return spans(starts, self.first_child[nodes + 1] - starts)

    def tokens(self, nodes: Ints) -> tuple[Ints, Ints]:
        """The tokens that end at some nodes: for each the index of its node in `nodes`, and its id."""
        starts = self.first_token[nodes]
        owners, places = spans(starts, self.first_token[nodes + 1] - starts)
        return owners, self.token_ids[places]

    @cached_property
    def ids_by_bytes(self) -> Mapping[bytes, tuple[int, ...]]:
        """The tokens that write given bytes; several where the vocabulary spells one text twice."""
        ids = {self.token_bytes[i]: (i,) for i in self.token_ids.tolist()}
        for node in np.flatnonzero(np.diff(self.first_token) > 1).tolist():
            same = self.token_ids[self.first_token[node] : self.first_token[node + 1]].tolist()
            ids[self.token_bytes[same[0]]] = tuple(same)
        return ids


_TRIES: weakref.WeakKeyDictionary[Vocabulary, Trie] = weakref.WeakKeyDictionary()


def spans(starts: Ints, counts: Ints) -> tuple[Ints, Ints]:
    """The ranges starts[i]:starts[i] + counts[i], one behind the other: the i of each item, and the item."""
    owners = np.repeat(np.arange(len(starts)), counts)
    shifts = starts - (np.cumsum(counts) - counts)
    return owners, np.arange(len(owners)) + shifts[owners]


def _build(vocabulary: Vocabulary) -> Trie:
    table = vocabulary.token_bytes
    added = vocabulary.added_ids
    ids = [i for i, data in enumerate(table) if data and i not in added]
    ids.sort(key=table.__getitem__)
    written = [table[i] for i in ids]
    buffer = np.frombuffer(b"".join(written), np.uint8)
    lengths = np.array([len(data) for data in written], np.int64)
    offsets = np.cumsum(lengths) - lengths
    end_nodes = np.zeros(len(ids), np.int64)

    levels, parents = [np.zeros(1, np.uint8)], [np.zeros(0, np.int64)]
    rows, nodes, num_nodes, depth = np.arange(len(ids)), np.zeros(len(ids), np.int64), 1, 0
    while len(rows):
        data = buffer[offsets[rows] + depth]
        is_new = np.ones(len(rows), np.bool_)  # tokens lie sorted: those of one node are neighbours
        is_new[1:] = (nodes[1:] != nodes[:-1]) | (data[1:] != data[:-1])
        levels.append(data[is_new])
        parents.append(nodes[is_new])
        nodes = num_nodes - 1 + np.cumsum(is_new)
        num_nodes, depth = int(nodes[-1]) + 1, depth + 1
        end_nodes[rows] = nodes
        goes_on = lengths[rows] > depth
        rows, nodes = rows[goes_on], nodes[goes_on]

    order = np.argsort(end_nodes, kind="stable")
    return Trie(
        byte=np.concatenate(levels),
        first_child=1 + _offsets(np.concatenate(parents), num_nodes),
        first_token=_offsets(end_nodes, num_nodes),
        token_ids=np.array(ids, np.int64)[order],
        token_bytes=table,
        max_bytes=depth,
    )


def _offsets(owners: Ints, num_owners: int) -> Ints:
    """[num_owners + 1]: where each owner's items begin once items are sorted by owner."""
    return np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=num_owners))])
