"""A head's scores for the decisions of an answer, and for the positions of its slots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smoldiff.decode.asked import Asker, OpenSlot
from smoldiff.decode.denoise import Denoiser, SlotFill, text_of
from smoldiff.decode.observer import Observer
from smoldiff.decode.opening import first_positions
from smoldiff.decode.scores import Ask, Question
from smoldiff.decode.seen import Seen
from smoldiff.head.memory import Memory
from smoldiff.template.template import Run, Template

# Shapes: P positions of a slot, U tokens that may stand in it, V vocabulary.

GROWTH = 2
UNLIKELY = -1e4
"""Less than any log-probability, and still a number: what nothing speaks for comes last."""


class HeadDecider:
    """Answers questions from what the base has seen. `look` comes first, after each pass of the base."""

    def __init__(self, denoiser: Denoiser, asker: Asker) -> None:
        self._denoiser, self._asker = denoiser, asker

    def look(self, memory: Memory, seen: Seen) -> None:
        self._memory, self._seen = memory, seen

    def decide(self, template: Any, questions: Sequence[Question]) -> list[Tensor]:
        """For each question, log-odds of its options."""
        rows = [self._asker.question(self._seen, question) for question in questions]
        scores_Q = self._denoiser.decide(self._memory, [one for row in rows for one in row])
        parts = scores_Q.split([len(row) for row in rows])
        return [
            torch.cat([torch.zeros(1), scores]) if question.ask is Ask.KEY else scores
            for question, scores in zip(questions, parts, strict=True)
        ]


class HeadScorer(HeadDecider):
    """Fills answers by itself, in mode "diffusion": all slots of a template in one go of denoise steps."""

    def __init__(
        self,
        denoiser: Denoiser,
        asker: Asker,
        num_steps: int,
        observer: Observer | None = None,
    ) -> None:
        super().__init__(denoiser, asker)
        self._observer = observer
        self._num_steps = num_steps
        self._template: Template | None = None
        self._fills: dict[str, SlotFill] = {}

    def fill(
        self, template: Template, runs: Sequence[Run], token_ids: NDArray[np.int32]
    ) -> tuple[Tensor, Tensor]:
        """Log-probabilities along the head's own filling: a position's hold behind the tokens that it put before."""
        if template is not self._template:
            self._template, self._fills = template, self._denoised(template)
        parts = [
            scores_of(self._fills.get(run.pointer), run.stop - run.start, token_ids) for run in runs
        ]
        scores, nulls = zip(*parts, strict=True)
        return torch.from_numpy(np.stack(scores)), torch.from_numpy(np.stack(nulls))

    def confidence(self, pointer: str, text: str) -> float:
        """The chance that a slot's text is right; 0 for one that the head did not choose."""
        fill = self._fills.get(pointer)
        return fill.confidence if fill and text_of(fill, self._denoiser.vocabulary) == text else 0.0

    def _denoised(self, template: Template) -> dict[str, SlotFill]:
        """The head's filling; a slot that fills up without ending gets more positions, up to its budget."""
        if self._observer is not None:
            remainder = template.scaffold.resume(template.prefix, template.choices)
            self._observer.opened(template.prefix, remainder)
        most = {run.pointer: run.stop - run.start for run in template.runs}
        cap = self._denoiser.head.config.max_slot_positions
        sizes = {
            run.pointer: first_positions(run.slot.language, template.vocabulary, cap)
            for run in template.runs
        }
        while True:
            asked = self._asker.slots(self._seen, open_runs(template, sizes))
            fills = self._denoiser.fill(self._memory, asked, self._num_steps, has_log_probs=True)
            found = {fill.asked.open_slot.pointer: fill for fill in fills}
            full = [p for p, fill in found.items() if not fill.is_ended and sizes[p] < most[p]]
            if not full:
                return found
            sizes |= {pointer: min(GROWTH * sizes[pointer], most[pointer]) for pointer in full}


def open_runs(template: Template, sizes: Mapping[str, int]) -> list[OpenSlot]:
    """A template's slots as they are put to a head."""
    num_bytes = len(template.prefix.encode())
    return [
        OpenSlot(
            run.pointer,
            run.slot,
            run.written,
            sizes[run.pointer],
            num_bytes - len(run.written.encode()) if template.prefix and not run.start else None,
        )
        for run in template.runs
    ]


def scores_of(
    fill: SlotFill | None, num_positions: int, token_ids: NDArray[np.int32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """[P, U] and [P]: what the head gave the tokens `token_ids` and NULL; NULL behind what it filled."""
    scores_PU = np.full((num_positions, len(token_ids)), UNLIKELY, np.float32)
    null_P = np.zeros(num_positions, np.float32)
    rows = fill.log_probs[:num_positions] if fill is not None else []
    for place, row_V in enumerate(rows):
        null_P[place] = UNLIKELY
        if row_V is not None:
            scores_PU[place], null_P[place] = row_V[token_ids], row_V[-1]
        elif fill is not None:
            scores_PU[place, token_ids == fill.token_ids[place]] = 0.0
    return scores_PU, null_P
