"""The drafts of one request: what the model may write next, in tokens, and what each pass teaches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

from torch import Tensor

from smoldiff.decode.copying import CopySource
from smoldiff.decode.draft import EMPTY, MAX_DRAFT_TOKENS, cut_draft
from smoldiff.decode.drafters import Drafter
from smoldiff.decode.ranking import MAX_TAIL_TOKENS, conversation_end, likely_tool
from smoldiff.scaffold.cursor import Choices, NotAPrefix
from smoldiff.template.vocabulary import Vocabulary
from smoldiff_integrations.vllm.schema import Constraint

# Shapes: T tokens of a draft, V vocabulary.


class RequestDrafts:
    """Drafts for one request. `propose` before each pass over a draft, `learn` after it."""

    def __init__(
        self,
        constraint: Constraint,
        vocabulary: Vocabulary,
        parts: frozenset[str],
        prompt_ids: Sequence[int],
    ) -> None:
        self._constraint, self._vocabulary = constraint, vocabulary
        scaffold = constraint.scaffolds[0]
        text = vocabulary.bytes_of(prompt_ids).decode(errors="replace")
        choices = Choices(branches={"/0": self._first_tool(prompt_ids)})
        self.drafter = Drafter(scaffold, vocabulary, parts, CopySource(text), choices)
        self._style_idx = 0
        self._draft = EMPTY

    def _first_tool(self, prompt_ids: Sequence[int]) -> int:
        """The number of the tool that the first draft names."""
        tools = self._constraint.scaffolds[0].source.tools
        if len(tools) < 2:
            return 0
        end = conversation_end(self._vocabulary, prompt_ids, tools, MAX_TAIL_TOKENS)
        return likely_tool(tools, self._vocabulary.bytes_of(end).decode(errors="replace"))

    def propose(self, written: list[int], max_tokens: int, eos_id: int | None) -> list[int]:
        """At most `max_tokens` tokens that may follow the answer's tokens `written`.

        eos_id: the token that ends the answer, drafted behind a whole one; None drafts none.
        """
        self._draft = EMPTY
        text = self._scaffold_text(written)
        if text is None or max_tokens < 1:
            return []
        draft = self.drafter.propose(written, text)
        if not draft.ids and self._takes_other_style(text):
            draft = self.drafter.propose(written, text)
        self._draft = cut_draft(draft, min(max_tokens, MAX_DRAFT_TOKENS))
        ids = list(self._draft.ids)
        is_whole = self._draft is draft and self._ends_answer(draft.text)
        if is_whole and eos_id is not None and len(ids) < max_tokens:
            ids.append(eos_id)
        return ids

    def learn(self, drafted: Sequence[int], num_accepted: int, candidates: Candidates) -> None:
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


class Candidates(Sequence[Sequence[int]]):
    """The best tokens, best first, at each position of a draft; ranked only where the draft is not the best."""

    def __init__(self, drafted: Sequence[int], logits_TV: Tensor, num_best: int) -> None:
        self._drafted, self._logits_TV, self._num_best = drafted, logits_TV, num_best
        self._best: list[int] = logits_TV.argmax(-1).tolist()

    def __len__(self) -> int:
        return len(self._drafted)

    @overload
    def __getitem__(self, t: int) -> Sequence[int]: ...

    @overload
    def __getitem__(self, t: slice) -> Sequence[Sequence[int]]: ...

    def __getitem__(self, t: int | slice) -> Sequence[int] | Sequence[Sequence[int]]:
        if isinstance(t, slice):
            return [self[i] for i in range(*t.indices(len(self)))]
        if self._best[t] == self._drafted[t]:
            return (self._best[t],)
        best: list[int] = self._logits_TV[t].topk(self._num_best).indices.tolist()
        return best

    def __iter__(self) -> Iterator[Sequence[int]]:
        return (self[t] for t in range(len(self)))
