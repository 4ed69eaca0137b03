"""Head attention in plain PyTorch: the specification of the kernels, and what runs on a CPU.

Two products, not torch's fused attention: on a CPU its backward pass takes longer than what it saves.
"""

from __future__ import annotations

import torch
from torch import Tensor

from smoldiff_kernels.head_attention.joined import joined, unjoined
from smoldiff_kernels.head_attention.layout import Layout

# Shapes: B rows, T template positions, K keys of context and template, A query heads, G key/value heads, R = A / G,
# M = R * T, E head width.


def head_attention_reference(
    q: Tensor, context: tuple[Tensor, Tensor], template: tuple[Tensor, Tensor], layout: Layout
) -> Tensor:
    q_BATE, k_BGKE, v_BGKE, sees_BTK = joined(q, context, template, layout)
    heads_and_positions = (-1, q_BATE.shape[2])
    q_BGME = (q_BATE * layout.scale).unflatten(1, (k_BGKE.shape[1], -1)).flatten(2, 3)
    scores_BGRTK = (q_BGME @ k_BGKE.mT).unflatten(2, heads_and_positions)
    # Not -inf: a query that sees nothing would have weights, and gradients, of NaN.
    least = torch.finfo(q.dtype).min
    weights_BGRTK = scores_BGRTK.masked_fill(~sees_BTK[:, None, None], least).softmax(-1)
    out_BGME = weights_BGRTK.flatten(2, 3) @ v_BGKE
    out_BATE = out_BGME.unflatten(2, heads_and_positions).flatten(1, 2)
    if not (q.is_cpu and _see_themselves(sees_BTK).all()):
        out_BATE = out_BATE.masked_fill(~sees_BTK.any(-1)[:, None, :, None], 0.0)
    return unjoined(out_BATE, q, layout)


def _see_themselves(sees_BTK: Tensor) -> Tensor:
    """[B, T]: the template's keys are the last ones."""
    return sees_BTK[..., -sees_BTK.shape[1] :].diagonal(dim1=1, dim2=2)
