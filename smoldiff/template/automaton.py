"""Byte automaton x vocabulary -> token automaton: which tokens may stand where in a slot."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from smoldiff.automata.dfa import DEAD, Dfa
from smoldiff.template.cache import read_arrays, write_arrays
from smoldiff.template.characters import with_characters
from smoldiff.template.edges import Edges, counted, merged_classes, trimmed
from smoldiff.template.forbidden import tracked
from smoldiff.template.token_classes import token_paths
from smoldiff.template.trie import Ints, Trie
from smoldiff.template.vocabulary import Vocabulary

FORMAT = 1
"""Part of every key: raise it when automata change for the same input."""
MAX_BYTES_IN_MEMORY = 1 << 27
SLOW_BUILD_MS = 20.0
"""Only automata that took longer to build are worth a file."""

_MEMORY: OrderedDict[str, TokenAutomaton] = OrderedDict()
_ARRAYS = ("token_ids", "classes", "accepts", "source", "cls", "target")

# Shapes: S states, U tokens, C classes, E edges.


@dataclass(frozen=True, eq=False)
class TokenAutomaton:
    """A language of token strings. State 0 is the start; every state lies on the way to acceptance; S = 0 is empty."""

    vocabulary: Vocabulary = field(repr=False)
    token_ids: NDArray[np.int32]
    """[U]: the tokens that occur in some accepted text, sorted: the slot's own small vocabulary."""
    classes: NDArray[np.int32]
    """[U]: the class of each, 0..C-1. Tokens of one class do the same from every state."""
    accepts: NDArray[np.bool_]
    """[S]: whether a text may end there."""
    source: NDArray[np.int32]
    """[E]: the automaton as a list of edges, sorted by source and class: edge e leads from source[e] ..."""
    cls: NDArray[np.int32]
    """[E]: ... with any token of class cls[e] ..."""
    target: NDArray[np.int32]
    """[E]: ... to target[e]."""
    min_tokens: int | None
    """Tokens of the shortest accepted text, None where there is none."""

    @property
    def is_empty(self) -> bool:
        return self.min_tokens is None

    @property
    def num_states(self) -> int:
        return len(self.accepts)

    @property
    def num_bytes(self) -> int:
        """Memory that its arrays take."""
        return sum(int(getattr(self, column).nbytes) for column in _ARRAYS)

    @cached_property
    def num_classes(self) -> int:
        return int(self.classes.max(initial=-1)) + 1

    @cached_property
    def next_state(self) -> NDArray[np.int32]:
        """[S, C]: the edges as a table, DEAD where a class is not allowed. Large languages are better read as edges."""
        table = np.full((self.num_states, self.num_classes), DEAD, np.int32)
        table[self.source, self.cls] = self.target
        return table

    def without(self, texts: Iterable[bytes]) -> TokenAutomaton:
        """The same language less these whole texts, however they fall into tokens.

        `token_ids` stays as it is, so that columns of scores keep their meaning; some may have become useless.
        """
        texts = frozenset(texts)
        if self.is_empty or not texts:
            return self
        edges, accepts, classes = tracked(
            self._edges, self.accepts, self.token_ids, self.classes, Trie.of(self.vocabulary), texts
        )
        edges, accepts, min_tokens = trimmed(edges, accepts)
        edges, numbers = merged_classes(edges, int(classes.max(initial=-1)) + 1)
        classes = numbers[classes]
        classes[classes < 0] = (
            numbers.max(initial=-1) + 1
        )  # tokens of no use: a class without edges
        return replace(
            self,
            classes=classes.astype(np.int32),
            accepts=accepts,
            source=edges.source.astype(np.int32),
            cls=edges.cls.astype(np.int32),
            target=edges.target.astype(np.int32),
            min_tokens=min_tokens,
        )

    @cached_property
    def _edges(self) -> Edges:
        source, cls, target = (a.astype(np.int64) for a in (self.source, self.cls, self.target))
        return Edges(source, cls, target, np.zeros_like(source))


def token_automaton(
    dfa: Dfa,
    vocabulary: Vocabulary,
    *,
    min_chars: int = 0,
    max_chars: int | None = None,
    max_tokens: int,
) -> TokenAutomaton:
    """The token strings over `vocabulary` whose bytes `dfa` accepts; ordinary tokens only, never an added one.

    `min_chars` and `max_chars` bound the characters that the text stands for as JSON string content: an escape is one, a
    UTF-8 sequence is one. The bounds are exact for texts of up to `max_tokens` tokens: one that these cannot break is
    left out. Raises token_classes.AutomatonTooLarge.
    """
    trie = Trie.of(vocabulary)
    if max_chars is not None and max_chars >= max_tokens * trie.max_bytes:
        max_chars = None
    is_counted = min_chars > 0 or max_chars is not None
    chars = np.zeros((1, 256), np.int8)
    if is_counted and not dfa.is_empty:
        dfa, chars = with_characters(dfa)
    paths = token_paths(dfa.table, np.broadcast_to(chars, dfa.table.shape), trie)
    edges = Edges(paths.source, paths.cls, paths.target, paths.chars)
    edges, accepts, min_tokens = trimmed(edges, dfa.accepts)
    if is_counted:
        product = counted(edges, accepts, min_chars, max_chars, max_tokens)
        edges, accepts, min_tokens = trimmed(*product)
    return _assembled(vocabulary, paths.token_ids, paths.classes, edges, accepts, min_tokens)


def automaton_for(
    key: str,
    build: Callable[[], Dfa],
    vocabulary: Vocabulary,
    *,
    min_chars: int = 0,
    max_chars: int | None = None,
    max_tokens: int,
) -> TokenAutomaton:
    """`token_automaton` of the DFA that `build` makes, kept in memory, and on disk if it took long to make.

    `key` stands for the DFA: equal keys must mean equal languages. Raises what `build` and `token_automaton` raise.
    """
    bounds = (min_chars, max_chars, max_tokens)
    text = f"{FORMAT}\0{vocabulary.content_hash}\0{bounds}\0{key}"
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
    known = _MEMORY.get(digest)
    if known is None or known.vocabulary is not vocabulary:
        name = f"automata/{digest}.npz"
        known = _read(name, vocabulary)
        if known is None:
            start_s = time.perf_counter()
            known = token_automaton(
                build(),
                vocabulary,
                min_chars=min_chars,
                max_chars=max_chars,
                max_tokens=max_tokens,
            )
            if (time.perf_counter() - start_s) * 1000 > SLOW_BUILD_MS:
                _write(name, known)
        _remember(digest, known)
    _MEMORY.move_to_end(digest)
    return known


def _remember(digest: str, automaton: TokenAutomaton) -> None:
    _MEMORY[digest] = automaton
    num_bytes = sum(known.num_bytes for known in _MEMORY.values())
    while num_bytes > MAX_BYTES_IN_MEMORY and len(_MEMORY) > 1:
        num_bytes -= _MEMORY.popitem(last=False)[1].num_bytes


def _read(name: str, vocabulary: Vocabulary) -> TokenAutomaton | None:
    arrays = read_arrays(name)
    if arrays is None or set(arrays) != {*_ARRAYS, "min_tokens"}:
        return None
    min_tokens = int(arrays["min_tokens"])
    columns = {column: arrays[column] for column in _ARRAYS}
    return TokenAutomaton(vocabulary, min_tokens=None if min_tokens < 0 else min_tokens, **columns)


def _write(name: str, automaton: TokenAutomaton) -> None:
    min_tokens = -1 if automaton.min_tokens is None else automaton.min_tokens
    arrays = {column: getattr(automaton, column) for column in _ARRAYS}
    write_arrays(name, {**arrays, "min_tokens": np.array(min_tokens)})


def _assembled(
    vocabulary: Vocabulary,
    token_ids: Ints,
    classes: Ints,
    edges: Edges,
    accepts: NDArray[np.bool_],
    min_tokens: int | None,
) -> TokenAutomaton:
    edges, numbers = merged_classes(edges, int(classes.max(initial=-1)) + 1)
    classes = numbers[classes]
    is_used = classes >= 0
    return TokenAutomaton(
        vocabulary,
        token_ids[is_used].astype(np.int32),
        classes[is_used].astype(np.int32),
        accepts,
        edges.source.astype(np.int32),
        edges.cls.astype(np.int32),
        edges.target.astype(np.int32),
        min_tokens,
    )
