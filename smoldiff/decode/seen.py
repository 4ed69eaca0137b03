"""What the base has seen when the head is asked: the written answer, and behind it the draft of the last pass.

Where a slot or a key stands in that text decides from which state of the base the head starts.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from smoldiff.decode.draft import Draft, num_common
from smoldiff.template.vocabulary import Vocabulary

# Offsets are bytes of the answer; indices are tokens of prompt and answer together.


@dataclass(frozen=True, slots=True)
class Anchor:
    """A token that the base has seen, and how many bytes of the asked text lie in front of what follows it."""

    index: int
    num_bytes: int
    is_fed: bool
    """Whether the asked place itself was seen, and not only the text in front of it."""


@dataclass(frozen=True, eq=False)
class Seen:
    """`fed_ids` are the answer's tokens that were fed; the first `num_right` of them are the answer's for good."""

    num_prompt: int
    fed_ids: tuple[int, ...]
    num_right: int
    ends: tuple[int, ...]
    text: bytes
    spans: Mapping[str, tuple[int, int]]
    """Pointer -> first and last byte of a slot's text."""

    @classmethod
    def of(
        cls,
        vocabulary: Vocabulary,
        num_prompt: int,
        written: Sequence[int],
        draft: Draft,
        num_right: int,
    ) -> Seen:
        """After a pass over the tokens `written` and the draft behind them, of all of which `num_right` were right."""
        fed_ids = (*written, *draft.ids)
        ends = tuple(vocabulary.ends(fed_ids))
        start = ends[len(written) - 1] if written else 0
        spans = {span.pointer: (start + span.start, start + span.end) for span in draft.spans}
        last = ends[-1] if ends else 0
        spans = {pointer: span for pointer, span in spans.items() if span[0] <= last}
        return cls(num_prompt, fed_ids, num_right, ends, vocabulary.bytes_of(fed_ids), spans)

    @property
    def num_tokens(self) -> int:
        return self.num_prompt + len(self.fed_ids)

    def slot(self, pointer: str, known: bytes, num_written: int | None, behind: int) -> Anchor:
        """Where a slot with the text `known` goes on.

        num_written: the length of the answer's text in front of it where the answer has begun the slot, else None.
        behind: where to start if the slot was not seen.
        """
        if num_written is not None:
            return self._inside(num_written, self._right_end(), known)
        if pointer in self.spans:
            return self._inside(*self.spans[pointer], known)
        return Anchor(behind, 0, is_fed=False)

    def _inside(self, start: int, stop: int, known: bytes) -> Anchor:
        fed = self.text[start : max(start, stop)]
        num_same = num_common(fed, known)
        # Of a slot that begins behind all that was right, what was fed at its place is another text.
        idx = bisect_right(self.ends, min(start + num_same, stop)) - 1
        num_bytes = max(0, (self.ends[idx] if idx >= 0 else 0) - start)
        return Anchor(self.num_prompt + idx, num_bytes, is_fed=True)

    def key(self, text: bytes, inside: Iterable[str], behind: int) -> Anchor:
        """In front of a key whose JSON text is `text`; `inside` are the pointers of slots of its value."""
        first = min((self.spans[p][0] for p in inside if p in self.spans), default=None)
        at = -1 if first is None else self.text.rfind(text, 0, first)
        if at < 0:
            return Anchor(behind, 0, is_fed=False)
        return Anchor(self.num_prompt + bisect_right(self.ends, at) - 1, 0, is_fed=True)

    def before(self, pointer: str, behind: int) -> Anchor:
        """In front of a slot, whatever was written there."""
        if pointer not in self.spans:
            return Anchor(behind, 0, is_fed=False)
        idx = bisect_right(self.ends, self.spans[pointer][0]) - 1
        return Anchor(self.num_prompt + idx, 0, is_fed=True)

    def end_of(self, pointer: str) -> int | None:
        """The token at the end of a slot, None where it was not seen."""
        if pointer not in self.spans:
            return None
        return self.num_prompt + bisect_right(self.ends, self.spans[pointer][1]) - 1

    @property
    def last_right(self) -> int:
        """The last token that is the answer's for good."""
        return self.num_prompt + self.num_right - 1

    def _right_end(self) -> int:
        return self.ends[self.num_right - 1] if self.num_right else 0
