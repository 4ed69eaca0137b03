"""The best token of each class of a slot's automaton, from scores of single tokens."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from smoldiff_kernels.class_scores.reference import class_scores_reference
from smoldiff_kernels.class_scores.token_classes import TokenClasses

__all__ = ["ClassScores", "Impl", "TokenClasses", "class_scores"]

# Shapes: R rows (positions of slots), U scores of a row, C classes of the automaton that has the most.

Impl = Literal["auto", "reference", "triton"]


class ClassScores(NamedTuple):
    """What `slot_decoding` looks at."""

    score_RC: Tensor
    """float32; -inf where a class has no allowed token."""
    token_RC: Tensor
    """int32: of equally good tokens the lowest id; NULL where a class has no allowed token."""
    null_R: Tensor
    """float32: the score of leaving a position unused; -inf where a token is fixed."""


def class_scores(
    score_RU: Tensor,
    null_R: Tensor,
    automaton_R: Tensor,
    classes: TokenClasses,
    *,
    fixed_R: Tensor | None = None,
    impl: Impl = "auto",
) -> ClassScores:
    """The best score of each class at each position, and the token that has it.

    score_RU and null_R are float32/bfloat16/float16; the columns of a row are those of its automaton, automaton_R [R]
    int32, further ones are not read. -inf forbids; NaN and +inf are not allowed. fixed_R [R] int64 is what is decided: a
    token id, NULL or UNDECIDED (`smoldiff_kernels.marks`).

    Every `impl` returns the same bits, but for the sign of a zero. No host synchronisation in "triton".
    """
    _check(score_RU, null_R, automaton_R, classes, fixed_R)
    if impl == "auto":
        impl = "triton" if score_RU.is_cuda else "reference"
    if impl == "reference":
        return ClassScores(*class_scores_reference(score_RU, null_R, automaton_R, classes, fixed_R))
    if impl == "triton":
        from smoldiff_kernels.class_scores.kernel import class_scores_triton

        return ClassScores(*class_scores_triton(score_RU, null_R, automaton_R, classes, fixed_R))
    raise ValueError(f'impl must be "auto", "reference" or "triton", not {impl!r}')


def _check(
    score_RU: Tensor,
    null_R: Tensor,
    automaton_R: Tensor,
    classes: TokenClasses,
    fixed_R: Tensor | None,
) -> None:
    floats = (torch.float32, torch.bfloat16, torch.float16)
    if score_RU.dim() != 2:
        raise ValueError(f"score_RU must be [rows, scores], not {tuple(score_RU.shape)}")
    if score_RU.shape[1] < classes.max_tokens:
        raise ValueError(
            f"score_RU has {score_RU.shape[1]} columns for {classes.max_tokens} tokens"
        )
    for name, tensor, dtypes in (
        ("score_RU", score_RU, floats),
        ("null_R", null_R, floats),
        ("automaton_R", automaton_R, (torch.int32,)),
        ("fixed_R", fixed_R, (torch.int64,)),
    ):
        if tensor is None:
            continue
        if tensor.dtype not in dtypes:
            allowed = " or ".join(str(dtype) for dtype in dtypes)
            raise TypeError(f"{name} is {tensor.dtype}; convert it to {allowed}")
        if tensor.device != classes.token_U.device:
            at = classes.token_U.device
            raise ValueError(f"{name} is on {tensor.device}, the classes on {at}; move one")
        if tensor is not score_RU and tensor.shape != score_RU.shape[:1]:
            raise ValueError(f"{name} must be [{len(score_RU)}], not {tuple(tensor.shape)}")
