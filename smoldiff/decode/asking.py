"""What a scorer says, checked: anyone may write one, and nothing behind this file trusts it."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smoldiff.decode.scores import Decider, Question, Scorer
from smoldiff.errors import RequestError
from smoldiff.scaffold.cursor import Remainder
from smoldiff.template.template import Run, Template

# Shapes: B slots, P positions of each, U tokens that may stand in them, N options of a question.

MAX_SCORE = 1e9
"""Larger scores, infinite ones too, count as this much: what scores -inf is the last to be taken, but it is there."""


def decide(
    scorer: Decider, template: Template | Remainder, questions: Sequence[Question]
) -> list[Tensor]:
    """For each question its scores, float64 [N] on the CPU. Raises RequestError for what are no scores."""
    scores = scorer.decide(template, questions)
    if not isinstance(scores, Sequence) or len(scores) != len(questions):
        raise RequestError(f"scorer.decide: expected a list of {len(questions)} tensors")
    return [
        _checked(one, "decide", (question.num_options,)).to("cpu", torch.float64)
        for one, question in zip(scores, questions, strict=True)
    ]


def fill(
    scorer: Scorer, template: Template, runs: Sequence[Run], token_ids: NDArray[np.int32]
) -> tuple[Tensor, Tensor]:
    """Scores of the tokens [B, P, U] and of NULL [B, P]. Raises RequestError for what are no scores."""
    answer = scorer.fill(template, runs, token_ids)
    if not isinstance(answer, tuple) or len(answer) != 2:
        raise RequestError("scorer.fill: expected two tensors, for the tokens and for NULL")
    shape = (len(runs), runs[0].stop - runs[0].start)
    scores_BPU = _checked(answer[0], "fill", (*shape, len(token_ids)))
    null_BP = _checked(answer[1], "fill", shape)
    return scores_BPU, null_BP.to(scores_BPU.device)


def _checked(scores: object, method: str, shape: tuple[int, ...]) -> Tensor:
    if not isinstance(scores, Tensor):
        raise RequestError(f"scorer.{method}: expected a tensor, got {type(scores).__name__}")
    if scores.shape != shape or scores.is_complex():
        what = f"{scores.dtype} {list(scores.shape)}"
        raise RequestError(f"scorer.{method}: expected float32 {list(shape)}, got {what}")
    plain = scores.detach().float()
    if not plain.numel():
        return plain
    low, high = map(float, plain.aminmax())
    if math.isnan(low):
        raise RequestError(f"scorer.{method}: a score is NaN")
    return plain.clamp(-MAX_SCORE, MAX_SCORE) if max(-low, high) > MAX_SCORE else plain
