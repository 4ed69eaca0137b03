"""Class scores in plain PyTorch, one row after the other."""

from __future__ import annotations

import torch
from torch import Tensor

from smoldiff_kernels.class_scores.token_classes import TokenClasses
from smoldiff_kernels.marks import NULL, UNDECIDED

# Shapes: R rows, U scores of a row, C classes. Of one automaton: T tokens.

_IMPOSSIBLE = float("-inf")
_NO_TOKEN = torch.iinfo(torch.int32).max


def class_scores_reference(
    score_RU: Tensor,
    null_R: Tensor,
    automaton_R: Tensor,
    classes: TokenClasses,
    fixed_R: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    shape = (len(score_RU), classes.max_classes)
    best_RC = torch.full(shape, _IMPOSSIBLE, device=score_RU.device)
    token_RC = torch.full(shape, _NO_TOKEN, dtype=torch.int32, device=score_RU.device)
    null_R = null_R.float()
    if fixed_R is not None:
        null_R = null_R.masked_fill(fixed_R >= 0, _IMPOSSIBLE)
    for r, a in enumerate(automaton_R.tolist()):
        own = slice(*classes.first_token_A[a : a + 2].tolist())
        token_T, class_T = classes.token_U[own], classes.class_U[own].long()
        score_T = score_RU[r, classes.column_U[own]].float()
        if fixed_R is not None:
            is_out_T = (fixed_R[r] != UNDECIDED) & (token_T != fixed_R[r])
            score_T = score_T.masked_fill(is_out_T, _IMPOSSIBLE)
        best_RC[r].scatter_reduce_(0, class_T, score_T, "amax")
        found_T = torch.where(score_T == best_RC[r, class_T], token_T, _NO_TOKEN)
        token_RC[r].scatter_reduce_(0, class_T, found_T, "amin")
    return best_RC, token_RC.masked_fill(best_RC == _IMPOSSIBLE, NULL), null_R
