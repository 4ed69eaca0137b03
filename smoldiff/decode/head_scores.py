"""A head's scores for the decisions of an answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from smoldiff.decode.asked import Asker
from smoldiff.decode.denoise import Denoiser
from smoldiff.decode.scores import Ask, Question
from smoldiff.decode.seen import Seen
from smoldiff.head.memory import Memory


class HeadDecider:
    """Answers questions from what the base has seen. `look` comes first, after each pass of the base."""

    def __init__(self, denoiser: Denoiser, asker: Asker) -> None:
        self._denoiser, self._asker = denoiser, asker

    def look(self, memory: Memory, seen: Seen) -> None:
        self._memory, self._seen = memory, seen

    @torch.inference_mode()
    def decide(self, template: Any, questions: Sequence[Question]) -> list[Tensor]:
        """For each question, log-odds of its options."""
        rows = [self._asker.question(self._seen, question) for question in questions]
        encoded = self._denoiser.encode(self._memory, [one for row in rows for one in row])
        scores_Q = self._denoiser.head.decide(encoded)[0].cpu()
        parts = scores_Q.split([len(row) for row in rows])
        return [
            torch.cat([torch.zeros(1), scores]) if question.ask is Ask.KEY else scores
            for question, scores in zip(questions, parts, strict=True)
        ]
