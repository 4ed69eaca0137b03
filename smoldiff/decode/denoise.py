"""Denoise steps: a head fills all open slots of a template at once, surest positions first.

Inside a slot the tokens are taken from left to right, because the head's low-rank term and its pointer look at the tokens
before; that costs no pass of the head. Every token is one from which the slot's language can still be completed.
Commitment in the order of confidence follows MaskGIT (Chang et al., 2022), re-masking by the best confidence so far RCR
(2025), budgets that grow the self-adaptive masks of dLLM-CtrlGen (2025).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smoldiff.decode.asked import SlotQueries
from smoldiff.decode.graphed import Drafts, SlotEnd, SlotStart, serves
from smoldiff.decode.walking import Walker
from smoldiff.head.inputs import NO_TOKEN, Queries, Query
from smoldiff.head.memory import Memory
from smoldiff.head.model import DiffusionHead, Encoded
from smoldiff.head.readings import MAX_MATCH, Rows
from smoldiff.head.tables import Tables
from smoldiff.template.automaton import TokenAutomaton
from smoldiff.template.languages import slot_automaton
from smoldiff.template.template import MASK
from smoldiff.template.token_classes import AutomatonTooLarge
from smoldiff.template.vocabulary import Vocabulary

# Shapes: V vocabulary, U tokens of a slot's automaton, K slots that are filled side by side.


@dataclass(slots=True)
class SlotFill:
    """What stands in a slot: its tokens from the slot's start, each with the chance that it is right."""

    asked: SlotQueries
    token_ids: list[int]
    chances: list[float]
    is_ended: bool
    """Whether the text ends inside its positions."""
    log_probs: list[NDArray[np.float32] | None] = field(default_factory=list)
    """What the head gave every token and NULL [V + 1] at each place, the end's too; None where a token stood already,
    and where no log-probabilities were asked for."""

    @property
    def confidence(self) -> float:
        """The chance that all of it is right; 0 where no text was found."""
        return math.prod(self.chances) if self.chances else 0.0


OnStep = Callable[[int, Sequence[SlotFill]], None]
"""Takes the number of a denoise step and what stands in the slots after it."""


@dataclass(eq=False)
class Denoiser:
    """A head at work on one answer."""

    head: DiffusionHead
    tables: Tables
    vocabulary: Vocabulary
    on_step: OnStep | None = None
    """Called after each step; for a display."""
    num_passes: int = 0
    """How often the head ran."""

    @torch.inference_mode()
    def remember(self, ids: Sequence[int], states_TS: Tensor, start: int) -> Memory:
        """What the head keeps of tokens that the base has just seen, the `start`-th of their row first."""
        device = states_TS.device
        if serves(self.head, device):
            return self._drafts(device).fused.remember(ids, states_TS, start)
        ids_1T = torch.tensor([ids], device=device)
        return self.head.remember(
            ids_1T, states_TS[None], torch.tensor([len(ids)], device=device), start
        )

    def encode(self, memory: Memory, queries: Sequence[Query]) -> Encoded:
        """One pass of the head."""
        self.num_passes += 1
        return self.head.encode(memory, Queries.of([queries], memory.ids_BN.device), self.tables)

    @torch.inference_mode()
    def decide(self, memory: Memory, queries: Sequence[Query]) -> Tensor:
        """[Q] float32, on the CPU: a score for each query that is an option of a question."""
        if serves(self.head, memory.ids_BN.device):
            self.num_passes += 1
            return self._drafts(memory.ids_BN.device).decide(memory, queries)
        return self.head.decide(self.encode(memory, queries))[0].cpu()

    def _drafts(self, device: torch.device) -> Drafts:
        return Drafts.of(self.head, self.tables, device)

    @torch.inference_mode()
    def fill(
        self,
        memory: Memory,
        asked: Sequence[SlotQueries],
        num_steps: int,
        *,
        has_log_probs: bool = False,
    ) -> list[SlotFill]:
        """The slots' texts after `num_steps` steps. Slots without an automaton stay empty and unended.

        has_log_probs: keep `SlotFill.log_probs`, which takes a trip to the host for each position.
        """
        fills = self._step(memory, asked, has_log_probs)
        for step in range(1, num_steps):
            self._show(step - 1, fills)
            kept = _surest(fills, step / num_steps)
            again = self._step(memory, [_committed(one, kept) for one in fills], has_log_probs)
            fills = [_better(old, new) for old, new in zip(fills, again, strict=True)]
        self._show(num_steps - 1, fills)
        return fills

    def _show(self, step: int, fills: Sequence[SlotFill]) -> None:
        if self.on_step is not None:
            self.on_step(step, fills)

    def _step(
        self, memory: Memory, asked: Sequence[SlotQueries], has_log_probs: bool
    ) -> list[SlotFill]:
        rows: list[Query] = [query for one in asked for query in one.queries]
        starts = np.cumsum([0, *(len(one.queries) for one in asked)])
        chains = [
            _Chain(one, int(start), self._automaton(one))
            for one, start in zip(asked, starts, strict=False)
        ]
        live = [chain for chain in chains if not chain.is_done]
        if has_log_probs or not self._drafted(memory, rows, live):
            encoded = self.encode(memory, rows)
            while live := [chain for chain in chains if not chain.is_done]:
                self._advance(encoded, live)
        return [chain.filled() for chain in chains]

    def _drafted(self, memory: Memory, rows: Sequence[Query], live: Sequence[_Chain]) -> bool:
        """Fill all slots in one go on the device, where that is possible."""
        is_free = bool(live) and all(chain.is_free for chain in live)
        if not (is_free and serves(self.head, memory.ids_BN.device)):
            return False
        drafts = self._drafts(memory.ids_BN.device)
        ends = drafts.fill(self.head, memory, rows, [chain.start() for chain in live])
        if ends is None:
            return False
        self.num_passes += 1
        for chain, end in zip(live, ends, strict=True):
            chain.take_all(end)
        return True

    def _automaton(self, one: SlotQueries) -> TokenAutomaton | None:
        try:
            num_positions = one.first_place + len(one.queries)
            return slot_automaton(one.open_slot.slot.language, self.vocabulary, num_positions)
        except (AutomatonTooLarge, ValueError):
            return None

    def _advance(self, encoded: Encoded, chains: Sequence[_Chain]) -> None:
        device = encoded.h_BQH.device
        at = Rows(
            torch.zeros(len(chains), dtype=torch.long, device=device),
            torch.tensor([chain.query for chain in chains], device=device),
            torch.tensor([chain.history() for chain in chains], device=device),
        )
        scores = self.head.scores(encoded, at, self.tables)
        chances = scores.confidence_K.sigmoid().tolist()
        log_probs_KV = scores.log_probs_KV().float().cpu().numpy()
        for chain, log_probs_V, chance in zip(chains, log_probs_KV, chances, strict=True):
            chain.take(log_probs_V, chance if self.head.config.has_confidence else None)


class _Chain:
    """One slot while its tokens are taken."""

    def __init__(self, asked: SlotQueries, start: int, automaton: TokenAutomaton | None) -> None:
        self._asked, self._start = asked, start
        self._tokens: list[int] = []
        self._chances: list[float] = []
        self._log_probs: list[NDArray[np.float32] | None] = []
        self._num_positions = asked.first_place + len(asked.queries)
        self._fixed = dict(enumerate(asked.known_ids)) | {
            query.place: query.token_id for query in asked.queries if query.token_id != MASK
        }
        self.is_done, self._is_ended = True, False
        if automaton is not None and not automaton.is_empty:
            self._walker = Walker(automaton, self._num_positions, self._fixed)
            self.is_done = not self._walker.is_possible
        self._take_fixed()

    @property
    def query(self) -> int:
        """The position that is filled next, among all queries."""
        return self._start + len(self._tokens) - self._asked.first_place

    def history(self) -> list[int]:
        """The tokens before it, the last one first."""
        last = self._tokens[::-1][:MAX_MATCH]
        return last + [NO_TOKEN] * (MAX_MATCH - len(last))

    @property
    def is_free(self) -> bool:
        """Whether no token stands at any later position."""
        return max(self._fixed, default=-1) < len(self._tokens)

    def start(self) -> SlotStart:
        return SlotStart(
            self.query,
            self._walker.automaton,
            self._walker.state,
            self._walker.num_left,
            self.history(),
        )

    def take_all(self, end: SlotEnd) -> None:
        """Fill all positions that are left. The walk on the device followed the automaton already."""
        num = len(end.token_ids)
        self._tokens += end.token_ids
        self._chances += end.chances[:num]
        if len(self._tokens) < self._num_positions:  # the chance of the end
            self._chances.append(end.chances[num])
        self._log_probs += [None] * (len(self._chances) - len(self._log_probs))
        self.is_done, self._is_ended = True, end.is_ended

    def take(self, log_probs_V: NDArray[np.float32], chance: float | None) -> None:
        """Fill the position with the best token that may stand there, or end the slot.

        `chance` is that of its being right, None to take its probability for that.
        """
        self._log_probs.append(log_probs_V)
        token_ids = self._walker.automaton.token_ids
        scores_U = np.where(self._walker.allowed(), log_probs_V[token_ids], -np.inf)
        best, null = float(scores_U.max(initial=-np.inf)), float(log_probs_V[-1])
        is_end = self._walker.may_end and null >= best
        if chance is None:
            chance = math.exp(null if is_end else best)
        if is_end:
            self._chances.append(chance)
            self.is_done = self._is_ended = True
        else:
            self._append(int(token_ids[scores_U.argmax()]), chance)
            self._take_fixed()

    def _take_fixed(self) -> None:
        """Step over the tokens that stand there already."""
        while not self.is_done and (place := len(self._tokens)) in self._fixed:
            # What an earlier step committed keeps its chance, see _better.
            chance = 1.0 if place < len(self._asked.known_ids) else 0.0
            self._log_probs.append(None)
            self._append(self._fixed[place], chance)

    def _append(self, token_id: int, chance: float) -> None:
        is_taken = self._walker.take(token_id)
        assert is_taken  # a way to the end was in sight
        self._tokens.append(token_id)
        self._chances.append(chance)
        if len(self._tokens) == self._num_positions:
            self.is_done = True
            self._is_ended = self._walker.must_end

    def filled(self) -> SlotFill:
        return SlotFill(self._asked, self._tokens, self._chances, self._is_ended, self._log_probs)


def _surest(fills: Sequence[SlotFill], share: float) -> float:
    """The chance above which that share of all positions lies."""
    chances = sorted((c for one in fills for c in one.chances), reverse=True)
    return chances[min(len(chances) - 1, int(share * len(chances)))] if chances else 1.0


def _committed(fill: SlotFill, least: float) -> SlotQueries:
    """The slot's queries with the sure tokens in place; the others are masked again."""
    asked = fill.asked
    queries = list(asked.queries)
    num_known = len(asked.known_ids)
    for place in range(max(num_known, asked.first_place), len(fill.token_ids)):
        idx = place - asked.first_place
        token = fill.token_ids[place] if fill.chances[place] > least else MASK
        queries[idx] = replace(queries[idx], token_id=token)
    return replace(asked, queries=tuple(queries))


def _better(old: SlotFill, new: SlotFill) -> SlotFill:
    """The new fill, with the best chance so far where a token stayed the same."""
    for place, (a, b) in enumerate(zip(old.token_ids, new.token_ids, strict=False)):
        if a == b:
            new.chances[place] = max(new.chances[place], old.chances[place])
    return replace(new, asked=old.asked)


def text_of(fill: SlotFill, vocabulary: Vocabulary) -> str | None:
    """The text of a filled slot; None where its tokens are none."""
    try:
        return vocabulary.bytes_of(fill.token_ids).decode()
    except UnicodeDecodeError:
        return None
