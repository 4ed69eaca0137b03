"""One answer while it is written: its tokens, its grammar, its drafts."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from smoldiff.decode.confidence import token_chances
from smoldiff.decode.draft import EMPTY, MAX_DRAFT_TOKENS, Draft, cut_draft
from smoldiff.decode.drafters import Drafter
from smoldiff.decode.forbidding import Ban, ForbiddingMatcher
from smoldiff.decode.grammar import Matcher
from smoldiff.decode.observer import Observer, Verdict
from smoldiff.decode.result import CallResult, Stats
from smoldiff.decode.revision import Revision, num_kept
from smoldiff.decode.sampling import Chooser
from smoldiff.errors import InvalidCall, SmoldiffError
from smoldiff.scaffold.answer import CallStyle
from smoldiff.template.vocabulary import Vocabulary

# Shapes: T logits of one row (one more than the draft has tokens), V vocabulary.


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
    read: Callable[["Answer"], CallResult]
    """The result of a whole answer. Raises GenerationError and SchemaError."""
    revision: Revision
    skip_forced: bool = False
    observer: Observer | None = None
    ids: list[int] = field(default_factory=list)
    chances: list[float] = field(default_factory=list)
    """The base's probability of each of the tokens `ids`, then of the answer's end if a token ended it; 1 where the
    grammar left no choice and the base was not asked."""
    stats: Stats = field(default_factory=Stats)
    is_done: bool = False
    ended_by_model: bool = False
    outcome: CallResult | SmoldiffError | None = None
    """The result, or why there is none; None until the answer is done."""
    _draft: Draft = EMPTY
    _num_fed: int = 0
    _has_first_draft: bool = False
    _num_kept_bytes: int = 0
    _problem: InvalidCall = field(init=False)

    def __post_init__(self) -> None:
        self.stats.prompt_tokens = len(self.prompt_ids)
        self._settle()

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

    def take(self, logits_TV: Tensor, states_TS: Tensor | None = None) -> int:
        """Accept the longest right prefix of the draft and one token of the base's own.

        Returns how many tokens of the row stay in the base's cache.
        """
        start = time.perf_counter()
        self.chooser.look(logits_TV)
        if self.drafter is not None and states_TS is not None:
            fed = [*self.prompt_ids, *self.ids, *self._draft.ids][self._num_fed :]
            self.drafter.see(fed, states_TS, self._num_fed)
        held = len(self.prompt_ids) + len(self.ids)
        num_accepted, taken = self._accept()
        self.chances += token_chances(logits_TV, taken)
        if self.observer is not None:
            self.observer.verified(self._verdict(held - len(self.prompt_ids), num_accepted))
        self._count(num_accepted)
        self._num_fed = held + num_accepted
        if self.drafter is not None and self.drafter.num_candidates and not self.is_done:
            best = logits_TV[: len(self._draft.ids)].topk(
                min(self.drafter.num_candidates, logits_TV.shape[1])
            )
            self.drafter.observe(self._draft, num_accepted, best.indices.tolist())
        self._settle()
        self.stats.ms["verify"] += 1e3 * (time.perf_counter() - start)
        return self._num_fed

    def _accept(self) -> tuple[int, list[int]]:
        """How many tokens of the draft were right, and all that were taken, the end among them."""
        draft = self._draft.ids
        taken: list[int] = []
        for t in range(len(draft) + 1):
            token_id = self.chooser.choose(t, len(self.ids), self.matcher)
            self._append(token_id)
            taken.append(token_id)
            is_last = self.is_done or self.matcher.is_dead_end
            if is_last or t == len(draft) or token_id != draft[t]:
                return t + int(t < len(draft) and token_id == draft[t]), taken
        raise AssertionError("the last round of the loop returns")

    def _verdict(self, num_before: int, num_accepted: int) -> Verdict:
        own, draft = num_before + num_accepted, self._draft.ids
        parts = (
            self.ids[:num_before],
            self.ids[num_before:own],
            self.ids[own:],
            draft[num_accepted:],
        )
        texts = (self.vocabulary.bytes_of(ids).decode(errors="replace") for ids in parts)
        return Verdict(*texts)

    def _append(self, token_id: int) -> None:
        if token_id in self.eos_ids:
            self.is_done = self.ended_by_model = True
            return
        self.ids.append(token_id)
        if self.matcher.is_finished:
            self.is_done = self.ended_by_model = True
        elif len(self.ids) >= self.max_tokens:
            self.is_done = True

    def _settle(self) -> None:
        """Go on until there is something to ask the base, or the answer has its outcome."""
        while self.outcome is None:
            if self.skip_forced and not self.is_done:
                self._take_forced()
            if self.is_done:
                self._read_or_revise()
            elif self.matcher.is_dead_end:
                self._rewind(len(self.ids))
            else:
                return

    def _read_or_revise(self) -> None:
        try:
            self.outcome = self.read(self)
        except InvalidCall as problem:
            self._problem = problem
            if self.ended_by_model:
                self._revise()
            else:
                self.outcome = problem
        except SmoldiffError as problem:
            self.outcome = problem

    def _revise(self) -> None:
        """Forbid what made the answer invalid, and go back to before it was written."""
        text = self.text()
        start = self.call_style.start_in(text) if self.call_style else 0
        ban = self.revision.ban(text, start)
        if ban is None:
            self.outcome = self.revision.last_word(self._problem)
            return
        if not isinstance(self.matcher, ForbiddingMatcher):
            self.matcher = ForbiddingMatcher(self.matcher, self.vocabulary, self.eos_ids)
        self.matcher.forbid(ban)
        self.stats.remasked += 1
        self._rewind(num_kept(self.vocabulary.ends(self.ids), text.encode(), ban))

    def _rewind(self, num_ids: int) -> None:
        """Keep that many tokens, fewer where no token is left behind them; no answer may start with such a text."""
        assert isinstance(self.matcher, ForbiddingMatcher)
        text = self.vocabulary.bytes_of(self.ids[:num_ids])
        self.matcher.rewind(self.ids[:num_ids])
        while num_ids and self.matcher.is_dead_end:
            self.matcher.forbid(Ban((text,)))
            num_ids -= 1
            text = self.vocabulary.bytes_of(self.ids[:num_ids])
            self.matcher.rewind(self.ids[:num_ids])
        if self.matcher.is_dead_end or len(text) < self._num_kept_bytes:
            self.is_done = True
            self.outcome = self.revision.last_word(
                self._problem, is_kept=bool(self._num_kept_bytes)
            )
            return
        del self.ids[num_ids:], self.chances[num_ids:]
        self.is_done = self.ended_by_model = False
        self.chooser.rewind(num_ids)
        self._num_fed = min(self._num_fed, len(self.prompt_ids) + num_ids - 1)

    def _take_forced(self) -> None:
        """Take what the grammar leaves no choice about; the engine stops short of a token that could merge."""
        for token_id in self.matcher.forced_ids():
            if self.is_done or not self.matcher.allows(token_id):
                return
            self.matcher.advance(token_id)
            self._append(token_id)
            self.chances.append(1.0)
            self.stats.forced += 1

    def _count(self, num_accepted: int) -> None:
        stats = self.stats
        stats.answer_tokens = len(self.ids)
        stats.near_ties = self.chooser.near_ties
        stats.head_passes = self.drafter.num_head_passes if self.drafter else 0
        if self._draft.ids:
            if self._num_fed and not self._has_first_draft:
                self._has_first_draft = True
                stats.first_draft_accepted = num_accepted
            stats.drafts += 1
            stats.drafted += len(self._draft.ids)
            stats.accepted += num_accepted

    def keep_written(self) -> None:
        """From here on nothing that is written so far is revised: the outcome is an error where it would have to be."""
        self._num_kept_bytes = len(self.vocabulary.bytes_of(self.ids))

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
