"""Drafts by the diffusion head: decisions and all open slots at once, from the states of the base's last pass.

The first pass runs over the prompt and a sketch of the answer, so that the base has states for every part of it. Each
further pass verifies a draft and gives fresher states; what the base itself says behind the first error is kept, and the
head fills the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from smoldiff.decode.asked import Asker, OpenSlot
from smoldiff.decode.decisions import Decisions
from smoldiff.decode.denoise import Denoiser, text_of
from smoldiff.decode.draft import (
    EMPTY,
    Draft,
    Span,
    cut_draft,
    make_draft,
    num_common,
    write_draft,
)
from smoldiff.decode.drafters import Drafter, Guess
from smoldiff.decode.head_scores import HeadDecider
from smoldiff.decode.observer import Observer
from smoldiff.decode.opening import first_positions, open_slots
from smoldiff.decode.pace import Pace
from smoldiff.decode.seen import Seen
from smoldiff.decode.sketch import sketch, sketch_draft
from smoldiff.decode.values import forced
from smoldiff.errors import TemplateError
from smoldiff.head.memory import Memory
from smoldiff.scaffold.cost import Costs
from smoldiff.scaffold.cursor import NO_CHOICES, Choices, Gap, NotAPrefix, Remainder

# Shapes: T tokens of a pass, S states of a token.

MAX_ROUNDS = 4
"""Decisions are asked from the outside in, this many times."""
MAX_MORE_SLOTS = 32


@dataclass(eq=False)
class HeadDrafter(Drafter):
    """A drafter with a head. Its `parts` may hold others beside "diffusion"."""

    denoiser: Denoiser = field(kw_only=True)
    num_prompt: int = field(kw_only=True)
    num_steps: int = field(default=1, kw_only=True)
    observer: Observer | None = field(default=None, kw_only=True)
    _memory: Memory | None = None
    _seen: Seen | None = None
    _is_sketch: bool = False

    def __post_init__(self) -> None:
        self._asker = Asker(self.vocabulary)
        self._decider = HeadDecider(self.denoiser, self._asker)
        self._decisions = Decisions(self._decider, Costs())
        self._pace = Pace()
        self._fills: dict[str, str] = {}

    @property
    def taps(self) -> tuple[int, ...]:
        return self.denoiser.head.config.taps

    @property
    def num_head_passes(self) -> int:
        return self.denoiser.num_passes

    @property
    def num_candidates(self) -> int:
        return super().num_candidates if not self._is_sketch else 0

    def see(self, fed: Sequence[int], states_TS: Tensor, start: int) -> None:
        more = self.denoiser.remember(fed, states_TS, start)
        kept = None if self._memory is None or not start else self._memory.cut(start)
        self._memory = more if kept is None else kept.followed_by(more)

    def propose(self, written: list[int], text: str | None) -> Draft:
        self._text = text
        is_first = self._memory is None
        guessed = self.choices
        if is_first:
            self.choices = NO_CHOICES  # from here on: what the base said itself
        draft = EMPTY
        if text is not None:
            try:
                draft = self._sketched(text, guessed) if is_first else self._drafted(written, text)
            except (NotAPrefix, TemplateError):  # what cannot be drafted is written token by token
                draft = EMPTY
        self._is_sketch = is_first
        self._last_written, self._last_draft = list(written), draft
        return draft

    def observe(self, draft: Draft, num_accepted: int, candidates: Sequence[Sequence[int]]) -> None:
        self._pace.learn(len(draft.ids), num_accepted)
        super().observe(draft, num_accepted, candidates)

    def _sketched(self, text: str, guessed: Choices) -> Draft:
        remainder = sketch(self.scaffold, text, guessed)
        self._show(text, remainder)
        return sketch_draft(remainder, self.vocabulary)

    def _drafted(self, written: list[int], text: str) -> Draft:
        self.look_back(written)
        self._fills.clear()
        limit = self._pace.next_limit()
        if self._pace.is_resting:  # what needs no guessing is still drafted
            return cut_draft(super().propose(written, text), limit)
        remainder = self._decided(text)
        self._show(text, remainder)
        self._fill_open(remainder, text)
        self.source.take_answer(text)
        parts, spans = write_draft(remainder, self._fill)
        return cut_draft(make_draft(self.vocabulary, written, parts, spans), limit)

    def _show(self, text: str, remainder: Remainder) -> None:
        if self.observer is not None:
            self.observer.opened(text, remainder)

    def look_back(self, written: Sequence[int]) -> tuple[Memory, Seen]:
        """What the last pass showed, now that it is known that the answer begins with the tokens `written`."""
        assert self._memory is not None
        num_drafted = self._memory.num_tokens - self.num_prompt - len(self._last_written)
        draft = cut_draft(self._last_draft, num_drafted)
        fed = [*self._last_written, *draft.ids]
        num_right = num_common(fed, written)
        self._seen = Seen.of(self.vocabulary, self.num_prompt, self._last_written, draft, num_right)
        return self._remembered(), self._seen

    def _remembered(self) -> Memory:
        """What the head reads: all that the base has seen, or the prompt alone where it was trained on that."""
        assert self._memory is not None
        has_all = self.denoiser.head.config.has_template_states
        return self._memory if has_all else self._memory.cut(self.num_prompt)

    def _decided(self, text: str) -> Remainder:
        """The remainder for the head's decisions; what the base said itself goes before them."""
        assert self._seen is not None
        self._decider.look(self._remembered(), self._seen)
        for _ in range(MAX_ROUNDS):
            remainder = self._resumed(text)
            if not self._decisions.settle(remainder, MAX_MORE_SLOTS):
                return remainder
        return self._resumed(text)

    def _resumed(self, text: str) -> Remainder:
        return self.scaffold.resume(text, over(self._decisions.choices(), self.choices))

    def _fill_open(self, remainder: Remainder, text: str) -> None:
        known: dict[str, str] = {}
        positions: dict[str, int] = {}
        for piece in remainder.pieces:
            if isinstance(piece, Gap) and self._is_open(piece):
                guess = self.guesses.get(piece.pointer)
                is_longer = guess is not None and guess.text.startswith(piece.written)
                known[piece.pointer] = guess.text if guess and is_longer else piece.written
                positions[piece.pointer] = first_positions(
                    piece.slot.language,
                    self.vocabulary,
                    self.denoiser.head.config.max_slot_positions,
                )
        asked = open_slots(remainder, text, known, positions)
        if asked:
            self._denoise(asked)

    def _is_open(self, gap: Gap) -> bool:
        if forced(gap.slot.language, gap.written) is not None:
            return False
        guess = self.guesses.get(gap.pointer)
        return not (guess and guess.is_done and guess.text.startswith(gap.written))

    def _denoise(self, asked: list[OpenSlot]) -> None:
        assert self._seen is not None
        queries = self._asker.slots(self._seen, asked)
        for fill in self.denoiser.fill(self._remembered(), queries, self.num_steps):
            text = text_of(fill, self.vocabulary)
            if text is not None and fill.chances:
                self._fills[fill.asked.open_slot.pointer] = text

    def _extend(self, gap: Gap, content: str) -> str | None:
        text = self._fills.get(gap.pointer)
        if text is not None and text.startswith(content):
            return self._by("diffusion", gap, text)
        return super()._extend(gap, content)

    def resume_choices(self, drafted: bytes) -> None:
        self.choices = over(self._decisions.choices(), self.choices)
        super().resume_choices(drafted)

    def confirm(self, span: Span, text: str) -> None:
        self.guesses[span.pointer] = Guess(text, True)


def over(first: Choices, second: Choices) -> Choices:
    """Both, the second where they differ."""
    return Choices(
        {**first.keys, **second.keys},
        {**first.lengths, **second.lengths},
        {**first.branches, **second.branches},
        {**first.others, **second.others},
        {**first.kinds, **second.kinds},
    )
