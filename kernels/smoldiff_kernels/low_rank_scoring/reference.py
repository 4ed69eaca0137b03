"""Low-rank scoring in plain PyTorch: the specification."""

from __future__ import annotations

import torch
from torch import Tensor

from smoldiff_kernels.marks import NULL

# Shapes: N rows, Q rows of logits, V vocabulary, R rank, A automata, C classes.


def low_rank_scoring_reference(
    logits_QV: Tensor,
    row_N: Tensor,
    inner_NR: Tensor,
    table_VR: Tensor,
    is_allowed_NC: Tensor,
    class_AV: Tensor,
    automaton_N: Tensor,
    null_N: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """The fields of `LowRankScored`."""
    logits_NV = logits_QV[row_N].float() + inner_NR.float() @ table_VR.float().T
    lse_N = torch.cat([logits_NV, null_N[:, None]], 1).logsumexp(1)
    is_allowed_NV = is_allowed_NC.gather(1, class_AV[automaton_N].long())
    allowed_NV = logits_NV.masked_fill(~is_allowed_NV, -torch.inf)
    logit_N, token_N = allowed_NV.max(1)
    return torch.where(logit_N > -torch.inf, token_N, NULL), logit_N, lse_N
