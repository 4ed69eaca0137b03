"""The drafts of one request: what the model may write next, in tokens, and what each pass teaches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from smoldiff.decode.asked import kind_of
from smoldiff.decode.copying import CopySource
from smoldiff.decode.denoise import Denoiser
from smoldiff.decode.draft import EMPTY, MAX_DRAFT_TOKENS, cut_draft
from smoldiff.decode.drafters import Drafter
from smoldiff.decode.head_drafter import HeadDrafter
from smoldiff.decode.tool_guessing import first_tool
from smoldiff.scaffold.cursor import Choices, NotAPrefix
from smoldiff.template.vocabulary import Vocabulary
from smoldiff_integrations.vllm.counters import STRUCTURE
from smoldiff_integrations.vllm.head import ReadyHead
from smoldiff_integrations.vllm.load import Own
from smoldiff_integrations.vllm.schema import Constraint

# Shapes: T tokens of a draft, L tokens of a request, S states of a token, V vocabulary.

States = Callable[[int, int], Tensor | None]
"""Gives the model's states [L, S] at a request's tokens from one number to another; None where there are none."""


STRUCTURAL = ("scaffold", STRUCTURE)


@dataclass(slots=True)
class Tally:
    """Of one request."""

    num_passes: int = 0
    num_drafted: int = 0
    num_accepted: int = 0

    def add(self, num_drafted: int, num_accepted: int) -> None:
        self.num_passes += 1
        self.num_drafted += num_drafted
        self.num_accepted += num_accepted


class RequestDrafts:
    """Drafts for one request. `propose` before each pass over a draft, `learn` after it."""

    def __init__(
        self,
        constraint: Constraint,
        vocabulary: Vocabulary,
        parts: frozenset[str],
        prompt_ids: Sequence[int],
        head: ReadyHead | None = None,
    ) -> None:
        """`parts` are those that draft beside the head, or without it."""
        self._constraint, self._vocabulary, self._prompt_ids = constraint, vocabulary, prompt_ids
        self._style_idx = 0
        self._draft = EMPTY
        self._num_proposed: int | None = None
        """The answer's tokens at the last proposal; None before the first."""
        self._has_seen = False
        self.tally = Tally()
        self.own = Own()
        self.has_tried = False
        """Whether something was to be drafted for the last pass."""
        self._parts = parts
        self.drafter = self._drafter(head)

    def _drafter(self, head: ReadyHead | None) -> Drafter:
        scaffold = self._constraint.scaffolds[self._style_idx]
        text = self._vocabulary.bytes_of(self._prompt_ids).decode(errors="replace")
        own = (None, None) if head is None else (head.head, head.tables)
        tool = first_tool(self._vocabulary, scaffold.source.tools, self._prompt_ids, *own)
        choices = Choices(branches={"/0": tool})
        if head is None:
            return Drafter(scaffold, self._vocabulary, self._parts, CopySource(text), choices)
        return HeadDrafter(
            scaffold,
            self._vocabulary,
            self._parts | {"parallel", "diffusion"},
            CopySource(text),
            choices,
            denoiser=Denoiser(head.head, head.tables, self._vocabulary),
            num_prompt=len(self._prompt_ids),
        )

    @property
    def has_head(self) -> bool:
        return bool(self.drafter.taps)

    def drop_head(self) -> None:
        """Go on without the head."""
        self.own = Own()
        self.drafter = self._drafter(None)

    def see(self, before: Sequence[int], drafted: Sequence[int], states: States) -> bool:
        """Show the head a pass: `before` are the answer's tokens that are in the cache, `drafted` what it verified.

        False where the states are missing.
        """
        if not self.has_head or self._num_proposed is None:
            return True
        own = tuple(drafted[: len(self._draft.ids)])
        if own != self._draft.ids[: len(own)]:
            return False
        # All but the last token of what was written at the last proposal had been seen by then.
        start = len(self._prompt_ids) + self._num_proposed - 1 if self._has_seen else 0
        fed = [*self._prompt_ids, *before, *own][start:]
        states_LS = states(start, start + len(fed))
        if states_LS is None:
            return False
        self.drafter.see(fed, states_LS, start)
        self._has_seen = True
        return True

    def propose(self, written: list[int], max_tokens: int, eos_id: int | None) -> list[int]:
        """At most `max_tokens` tokens that may follow the answer's tokens `written`.

        eos_id: the token that ends the answer, drafted behind a whole one; None drafts none.
        """
        self._draft, self.has_tried = EMPTY, True
        text = self._scaffold_text(written)
        if text is None and self._num_proposed is None:
            return []
        self._num_proposed = len(written)
        draft = self.drafter.propose(written, text)
        if not draft.ids and text is not None and self._takes_other_style(text):
            draft = self.drafter.propose(written, text)
        self._draft = cut_draft(draft, max(0, min(max_tokens, MAX_DRAFT_TOKENS)))
        ids = list(self._draft.ids)
        is_whole = self._draft is draft and self._ends_answer(draft.text)
        if is_whole and eos_id is not None and len(ids) < max_tokens:
            ids.append(eos_id)
        return ids

    def labels(self, num_tokens: int) -> list[tuple[str, str]]:
        """Drafter and slot type of the first tokens of the last draft."""
        origins, spans = self.drafter.origins, iter(self._draft.spans)
        found, span = [], next(spans, None)
        for end in self._draft.ends:
            while span is not None and span.end < end:
                span = next(spans, None)
            if span is None or end <= span.start:
                found.append(STRUCTURAL)
            else:
                drafter = origins.get(span.pointer, "scaffold")
                found.append((drafter, kind_of(span.language, span.pointer)))
        found += [STRUCTURAL] * (num_tokens - len(found))
        return found[:num_tokens]

    def rest(self) -> None:
        """Nothing is drafted for the next pass."""
        self._draft, self.has_tried = EMPTY, False

    def cut(self, num_tokens: int) -> None:
        """Only so many tokens of the last draft are verified."""
        self._draft = cut_draft(self._draft, num_tokens)

    def learn(
        self, drafted: Sequence[int], num_accepted: int, candidates: Sequence[Sequence[int]]
    ) -> None:
        """Take in a pass that verified the first tokens of the last draft and found `num_accepted` of them right."""
        num_verified = min(len(drafted), len(self._draft.ids))
        draft = cut_draft(self._draft, num_verified)
        if num_verified and tuple(drafted[:num_verified]) == draft.ids:
            self.drafter.observe(draft, min(num_accepted, num_verified), candidates)

    def _scaffold_text(self, written: Sequence[int]) -> str | None:
        """The written text from the first call on; None before it and inside a character."""
        try:
            text = self._vocabulary.bytes_of(written).decode()
        except UnicodeDecodeError:
            return None
        if not self._constraint.has_calls:
            return text
        start = self.drafter.scaffold.call_style.start_in(text)
        return text[start:] if start >= 0 else None

    def _takes_other_style(self, text: str) -> bool:
        """Go over to the next style of whitespace where the answer so far is none of this one."""
        if self._style_idx + 1 == len(self._constraint.scaffolds) or _reads(
            self.drafter.scaffold, text
        ):
            return False
        other = self._constraint.scaffolds[self._style_idx + 1]
        if not _reads(other, text):
            return False
        self._style_idx += 1
        self.drafter.scaffold = other
        return True

    def _ends_answer(self, drafted: bytes) -> bool:
        """A draft ends in front of a value, or with the answer's last character."""
        if self._constraint.has_calls:
            return drafted.endswith(self.drafter.scaffold.call_style.end.encode())
        return drafted.endswith((b"}", b"]"))


def _reads(scaffold: object, text: str) -> bool:
    try:
        scaffold.resume(text)  # type: ignore[attr-defined]
    except NotAPrefix:
        return False
    return True
