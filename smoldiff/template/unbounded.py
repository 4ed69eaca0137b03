"""A slot's language as token edges, before its characters are bounded: the slow part, done once and kept on disk."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smoldiff.automata.dfa import Dfa
from smoldiff.template.cache import Memory, digest, read_arrays, write_arrays
from smoldiff.template.characters import with_characters
from smoldiff.template.edges import Edges, merged_classes, trimmed
from smoldiff.template.token_classes import token_paths
from smoldiff.template.trie import Ints, Trie
from smoldiff.template.vocabulary import Vocabulary

FORMAT = 2
"""Part of every key: raise it when the result changes for the same input."""
SLOW_BUILD_MS = 20.0
"""Only what took longer to build is worth a file."""
_ARRAYS = ("token_ids", "classes", "accepts", "source", "cls", "target", "chars")


@dataclass(frozen=True, eq=False)
class Unbounded:
    """Trimmed edges, which say how many characters they complete, and the tokens of each class."""

    token_ids: Ints
    classes: Ints
    edges: Edges
    accepts: NDArray[np.bool_]

    @property
    def num_bytes(self) -> int:
        return sum(array.nbytes for array in self.arrays())

    def arrays(self) -> tuple[NDArray[np.generic], ...]:
        """All that it consists of, in the order of the file's names."""
        edges = self.edges
        columns = (edges.source, edges.cls, edges.target, edges.chars)
        return (self.token_ids, self.classes, self.accepts, *columns)


def unbounded(dfa: Dfa, vocabulary: Vocabulary, is_counted: bool) -> Unbounded:
    """The token strings over `vocabulary` whose bytes `dfa` accepts. Without `is_counted`, all edges complete nothing.

    Raises token_classes.AutomatonTooLarge.
    """
    chars = np.broadcast_to(np.int8(0), dfa.table.shape)
    if is_counted and not dfa.is_empty:
        dfa, chars = with_characters(dfa)
    paths = token_paths(dfa.table, chars, Trie.of(vocabulary))
    edges = Edges(paths.source, paths.cls, paths.target, paths.chars)
    return merged(paths.token_ids, paths.classes, *trimmed(edges, dfa.accepts)[:2])


def merged(token_ids: Ints, classes: Ints, edges: Edges, accepts: NDArray[np.bool_]) -> Unbounded:
    """One class for tokens of equal edges; tokens without any left out."""
    edges, numbers = merged_classes(edges, int(classes.max(initial=-1)) + 1)
    classes = numbers[classes]
    is_used = classes >= 0
    return Unbounded(token_ids[is_used], classes[is_used], edges, accepts)


_MEMORY: Memory[Unbounded] = Memory()


def unbounded_for(
    key: str, build: Callable[[], Dfa], vocabulary: Vocabulary, is_counted: bool
) -> Unbounded:
    """`unbounded` of the DFA that `build` makes, kept in memory, and on disk if it took long to make."""
    name = digest(FORMAT, vocabulary.content_hash, is_counted, key)
    return _MEMORY.get(name) or _MEMORY.put(
        name, _read(name) or _made(name, build, vocabulary, is_counted)
    )


def _made(
    name: str, build: Callable[[], Dfa], vocabulary: Vocabulary, is_counted: bool
) -> Unbounded:
    Trie.of(vocabulary)  # once a vocabulary: says nothing about this language
    start_s = time.perf_counter()
    made = unbounded(build(), vocabulary, is_counted)
    if (time.perf_counter() - start_s) * 1000 > SLOW_BUILD_MS:
        small = (a.astype(np.int32) if a.dtype == np.int64 else a for a in made.arrays())
        write_arrays(_path(name), dict(zip(_ARRAYS, small, strict=True)))
    return made


def _read(name: str) -> Unbounded | None:
    arrays = read_arrays(_path(name))
    if arrays is None or set(arrays) != set(_ARRAYS):
        return None
    ids, classes, _, *columns = (arrays[name].astype(np.int64) for name in _ARRAYS)
    return Unbounded(ids, classes, Edges(*columns), arrays["accepts"])


def _path(name: str) -> str:
    return f"automata/{name}.npz"
