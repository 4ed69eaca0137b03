"""Byte automaton x vocabulary -> token automaton: which tokens may stand where in a slot."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from smoldiff.automata.dfa import DEAD, Dfa
from smoldiff.template.cache import Memory, digest
from smoldiff.template.edges import Edges, counted, merged_classes, trimmed
from smoldiff.template.forbidden import tracked
from smoldiff.template.trie import Trie
from smoldiff.template.unbounded import Unbounded, merged, unbounded, unbounded_for
from smoldiff.template.vocabulary import Vocabulary

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
        columns = (self.token_ids, self.classes, self.accepts, self.source, self.cls, self.target)
        return sum(column.nbytes for column in columns)

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
    bounds = _bounds(vocabulary, min_chars, max_chars, max_tokens)
    return _bounded(unbounded(dfa, vocabulary, bounds is not None), vocabulary, bounds)


_MEMORY: Memory[TokenAutomaton] = Memory()


def automaton_for(
    key: str,
    build: Callable[[], Dfa],
    vocabulary: Vocabulary,
    *,
    min_chars: int = 0,
    max_chars: int | None = None,
    max_tokens: int,
) -> TokenAutomaton:
    """`token_automaton` of the DFA that `build` makes, kept in memory; what took long to make, also on disk.

    `key` stands for the DFA: equal keys must mean equal languages. Raises what `build` and `token_automaton` raise.
    """
    bounds = _bounds(vocabulary, min_chars, max_chars, max_tokens)
    name = digest(vocabulary.content_hash, bounds, key)
    known = _MEMORY.get(name)
    if known is None or known.vocabulary is not vocabulary:
        language = unbounded_for(key, build, vocabulary, bounds is not None)
        known = _MEMORY.put(name, _bounded(language, vocabulary, bounds))
    return known


Bounds = tuple[int, int | None, int]


def _bounds(
    vocabulary: Vocabulary, min_chars: int, max_chars: int | None, max_tokens: int
) -> Bounds | None:
    """The bounds that can bind, None if there are none."""
    if max_chars is not None and max_chars >= max_tokens * Trie.of(vocabulary).max_bytes:
        max_chars = None
    is_bounded = min_chars > 0 or max_chars is not None
    return (min_chars, max_chars, max_tokens) if is_bounded else None


def _bounded(language: Unbounded, vocabulary: Vocabulary, bounds: Bounds | None) -> TokenAutomaton:
    edges, accepts = language.edges, language.accepts
    if bounds is not None:
        edges, accepts = counted(edges, accepts, *bounds)
    edges, accepts, min_tokens = trimmed(edges, accepts)
    if bounds is not None:
        language = merged(language.token_ids, language.classes, edges, accepts)
        edges = language.edges
    return TokenAutomaton(
        vocabulary,
        language.token_ids.astype(np.int32),
        language.classes.astype(np.int32),
        accepts,
        edges.source.astype(np.int32),
        edges.cls.astype(np.int32),
        edges.target.astype(np.int32),
        min_tokens,
    )
