"""One answer while it is written: its tokens, its grammar, its drafts."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from smoldiff.decode.draft import EMPTY, Draft
from smoldiff.decode.drafters import Drafter
from smoldiff.decode.grammar import Matcher
from smoldiff.decode.result import Stats
from smoldiff.decode.sampling import Chooser
from smoldiff.scaffold.answer import CallStyle
from smoldiff.template.vocabulary import Vocabulary

# Shapes: T logits of one row (one more than the draft has tokens), V vocabulary.

MAX_DRAFT_TOKENS = 64
"""A pass over more positions costs visibly more than a pass over one, on a GPU too."""


@dataclass(eq=False)
class Answer:
    """Everything that belongs to one answer of a batch. `feed` and `take` alternate, a base pass between them."""

    prompt_ids: Sequence[int]
    vocabulary: Vocabulary
    matcher: Matcher
    chooser: Chooser
    drafter: Drafter | None
    """None writes one token a pass (mode "ar")."""
    eos_ids: frozenset[int]
    call_style: CallStyle | None
    """Tells where the first call, and with it the scaffold, begins in the text; None where the answer is nothing else."""
    max_tokens: int
    skip_forced: bool = False
    ids: list[int] = field(default_factory=list)
    stats: Stats = field(default_factory=Stats)
    is_done: bool = False
    ended_by_model: bool = False
    _draft: Draft = EMPTY
    _num_fed: int = 0
    _has_first_draft: bool = False

    def __post_init__(self) -> None:
        self.stats.prompt_tokens = len(self.prompt_ids)
        if self.skip_forced:
            self._take_forced()

    def feed(self) -> tuple[list[int], int]:
        """Tokens for the next pass, and how many logits are wanted of its end."""
        start = time.perf_counter()
        room = self.max_tokens - len(self.ids)
        self._draft = EMPTY
        if self.drafter is not None:
            draft = self.drafter.propose(self.ids, self.scaffold_text())
            self._draft = cut_draft(draft, min(MAX_DRAFT_TOKENS, room - 1))
        pending = [*self.prompt_ids, *self.ids][self._num_fed :]
        self.stats.ms["draft"] += 1e3 * (time.perf_counter() - start)
        return pending + list(self._draft.ids), 1 + len(self._draft.ids)

    def take(self, logits_TV: Tensor) -> int:
        """Accept the longest right prefix of the draft and one token of the base's own.

        Returns how many tokens of the row stay in the base's cache.
        """
        start = time.perf_counter()
        self.chooser.look(logits_TV)
        held = len(self.prompt_ids) + len(self.ids)
        num_accepted = self._accept()
        self._count(num_accepted)
        self._num_fed = held + num_accepted
        if self.drafter is not None and self.drafter.num_candidates and not self.is_done:
            best = logits_TV[: len(self._draft.ids)].topk(
                min(self.drafter.num_candidates, logits_TV.shape[1])
            )
            self.drafter.observe(self._draft, num_accepted, best.indices.tolist())
        if self.skip_forced and not self.is_done:
            self._take_forced()
        self.stats.ms["verify"] += 1e3 * (time.perf_counter() - start)
        return self._num_fed

    def _accept(self) -> int:
        draft = self._draft.ids
        for t in range(len(draft) + 1):
            token_id = self.chooser.choose(t, len(self.ids), self.matcher)
            self._append(token_id)
            if self.is_done or t == len(draft) or token_id != draft[t]:
                return t + int(t < len(draft) and token_id == draft[t])
        raise AssertionError("the last round of the loop returns")

    def _append(self, token_id: int) -> None:
        if token_id in self.eos_ids:
            self.is_done = self.ended_by_model = True
            return
        self.ids.append(token_id)
        if self.matcher.is_finished:
            self.is_done = self.ended_by_model = True
        elif len(self.ids) >= self.max_tokens:
            self.is_done = True

    def _take_forced(self) -> None:
        """Take what the grammar leaves no choice about; the engine stops short of a token that could merge."""
        for token_id in self.matcher.forced_ids():
            if self.is_done or not self.matcher.allows(token_id):
                return
            self.matcher.advance(token_id)
            self._append(token_id)
            self.stats.forced += 1

    def _count(self, num_accepted: int) -> None:
        stats = self.stats
        stats.answer_tokens = len(self.ids)
        stats.near_ties = self.chooser.near_ties
        if self._draft.ids:
            if self._num_fed and not self._has_first_draft:
                self._has_first_draft = True
                stats.first_draft_accepted = num_accepted
            stats.drafts += 1
            stats.drafted += len(self._draft.ids)
            stats.accepted += num_accepted

    def scaffold_text(self) -> str | None:
        """The written text from the first call on; None before it and inside a character."""
        try:
            text = self.text()
        except UnicodeDecodeError:
            return None
        if self.call_style is None or not text:
            return text
        start = self.call_style.start_in(text)
        return text[start:] if start >= 0 else None

    def text(self) -> str:
        """What is written. Raises UnicodeDecodeError inside a character."""
        return self.vocabulary.bytes_of(self.ids).decode()


def cut_draft(draft: Draft, num_tokens: int) -> Draft:
    """The first tokens of a draft."""
    if len(draft.ids) <= num_tokens:
        return draft
    return Draft(draft.ids[:num_tokens], draft.ends[:num_tokens], draft.text, draft.spans)
