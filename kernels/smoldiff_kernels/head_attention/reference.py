"""Head attention in plain PyTorch: the specification of the kernels."""

from __future__ import annotations

import torch
from torch import Tensor

from smoldiff_kernels.head_attention.joined import joined, unjoined
from smoldiff_kernels.head_attention.layout import Layout

# Shapes: B rows, T template positions, K keys of context and template, A query heads, G key/value heads, R = A / G, E head
# width.


def head_attention_reference(
    q: Tensor, context: tuple[Tensor, Tensor], template: tuple[Tensor, Tensor], layout: Layout
) -> Tensor:
    q_BTAE, k_BKGE, v_BKGE, sees_BTK = joined(q, context, template, layout)
    q_BTGRE = q_BTAE.unflatten(2, (k_BKGE.shape[2], -1))
    scores_BGRTK = torch.einsum("btgre,bkge->bgrtk", q_BTGRE * layout.scale, k_BKGE)
    hidden_B11TK = ~sees_BTK[:, None, None]
    # Not -inf: a query that sees nothing would have weights, and gradients, of NaN.
    scores_BGRTK = scores_BGRTK.masked_fill(hidden_B11TK, torch.finfo(q.dtype).min)
    weights_BGRTK = scores_BGRTK.softmax(-1).masked_fill(hidden_B11TK, 0.0)
    out_BTGRE = torch.einsum("bgrtk,bkge->btgre", weights_BGRTK, v_BKGE)
    return unjoined(out_BTGRE.flatten(2, 3), q, layout)
