"""A grammar less some beginnings: no answer that starts with a forbidden text can be written.

Decoding under a superset of a schema, each answer that does not validate forbids the beginning that made it wrong, and
a state in which no token is left forbids its own text. As long as no forbidden text has a valid continuation, the
answer that comes out is the one that an exact grammar would have led to.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from smoldiff.decode.grammar import MAX_CACHED_ENGINES, Matcher
from smoldiff.template.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Ban:
    """Beginnings that no answer may have, and whole texts (`ends`) that may not be one."""

    beginnings: tuple[bytes, ...]
    ends: tuple[bytes, ...] = ()


class ForbiddingMatcher(Matcher):
    """Allows what another matcher allows, less every token that would complete something forbidden."""

    def __init__(self, matcher: Matcher, vocabulary: Vocabulary, eos_ids: frozenset[int]) -> None:
        super().__init__(matcher.engine, matcher.num_tokens)
        self._vocabulary = vocabulary
        self._eos_ids = eos_ids
        self._sorted = sorted_tokens(vocabulary)
        self._text = b""
        self._beginnings: list[bytes] = []
        self._ends: set[bytes] = set()

    def forbid(self, ban: Ban) -> None:
        """Refuse these answers too."""
        self._beginnings += ban.beginnings
        self._ends.update(ban.ends)
        self._is_current = False

    def rewind(self, ids: Sequence[int]) -> None:
        super().rewind(ids)
        self._text = self._vocabulary.bytes_of(ids)

    def advance(self, token_id: int) -> None:
        super().advance(token_id)
        if token_id not in self._eos_ids:
            self._text += self._vocabulary.bytes_of([token_id])

    @property
    def is_dead_end(self) -> bool:
        return self._text in self._ends if self.is_finished else not self._mask().any()

    def _mask(self) -> "np.ndarray[Any, np.dtype[np.uint32]]":
        if not self._is_current:
            super()._mask()
            for token_id in self._forbidden_ids():
                self._words[token_id >> 5] &= ~np.uint32(1 << (token_id & 31))
        return self._words

    def _forbidden_ids(self) -> list[int]:
        found = list(self._eos_ids) if self._text in self._ends else []
        for beginning in self._beginnings:
            if beginning.startswith(self._text):
                found += self._sorted.starting_with(beginning[len(self._text) :])
        return [token_id for token_id in found if token_id < self.num_tokens]


@dataclass(frozen=True, slots=True)
class SortedTokens:
    """The tokens of a vocabulary that write something, in the order of their bytes."""

    texts: tuple[bytes, ...]
    ids: tuple[int, ...]

    def starting_with(self, beginning: bytes) -> tuple[int, ...]:
        """The tokens whose bytes start with a text that is not empty."""
        behind = (int.from_bytes(beginning, "big") + 1).to_bytes(len(beginning) + 1, "big")
        last = bisect_left(self.texts, behind[1:]) if behind[0] == 0 else len(self.texts)
        return self.ids[bisect_left(self.texts, beginning) : last]


@lru_cache(maxsize=MAX_CACHED_ENGINES)
def sorted_tokens(vocabulary: Vocabulary) -> SortedTokens:
    """A vocabulary's tokens by their bytes; sorting 150k takes about 0.1 s, once."""
    pairs = sorted((text, i) for i, text in enumerate(vocabulary.token_bytes) if text)
    return SortedTokens(tuple(text for text, _ in pairs), tuple(i for _, i in pairs))
