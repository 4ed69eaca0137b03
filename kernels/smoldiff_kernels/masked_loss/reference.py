"""The specification: all logits at once, and their log-softmax."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# Shapes: K rows, D hidden size, V vocabulary, C columns (V, or V + 1 with NULL), T tokens of each row.


def log_probs_reference(
    hidden_KD: Tensor, lm_head_VD: Tensor, wanted_KT: Tensor, null_logits_K: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Fields of LogProbs."""
    dtype = torch.promote_types(hidden_KD.dtype, torch.float32)
    logits_KC = nn.functional.linear(hidden_KD, lm_head_VD).to(dtype)
    if null_logits_K is not None:
        logits_KC = torch.cat([logits_KC, null_logits_K[:, None].to(dtype)], 1)
    log_p_KC = logits_KC.log_softmax(-1)
    with torch.no_grad():
        lse_K, best_K = logits_KC.logsumexp(-1), logits_KC.argmax(-1)
    return log_p_KC.gather(1, wanted_KT), log_p_KC.mean(-1), lse_K, best_K
