"""The row-wise steps in PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from smoldiff_kernels.head_pass.operands import EPS, Asked, Inputs, Rows, Seen
from smoldiff_kernels.marks import NULL


def inputs_reference(asked: Asked, seen: Seen, rows: Rows, num_blocks: int) -> Inputs:
    def embedded(ids: Tensor) -> Tensor:
        """Zeros where there is no token."""
        found = seen.embedding_VD[ids.clamp(min=0)].float()
        normed = functional.rms_norm(found, found.shape[-1:], eps=EPS)
        return normed * (ids != NULL)[..., None]

    dtype = rows.mask_H.dtype
    anchor_Q = torch.minimum(asked.anchor_Q, seen.num_seen_1 - 1)
    is_name_QL = asked.name_QL != NULL
    name_QD = embedded(asked.name_QL).sum(1) / is_name_QL.sum(1, keepdim=True).clamp(min=1)
    parts = [embedded(asked.token_Q).to(dtype), name_QD.to(dtype)]
    base_QH = rows.kind_KH[asked.kind_Q].float() + rows.index_IH[asked.index_Q]
    base_QH = base_QH + asked.is_fed_Q[:, None] * rows.fed_H
    base_QH = base_QH + (asked.token_Q == NULL)[:, None] * rows.mask_H
    if rows.place_PH is not None:
        base_QH = base_QH + rows.place_PH[asked.place_Q.clamp(max=len(rows.place_PH) - 1)]
    anchored_QD = None
    if rows.gate_O is not None:
        parts.append(seen.fused_NH[anchor_Q].to(dtype))
        num_gates = len(rows.gate_O)
        gate_Q = rows.gate_O[asked.offset_Q.clamp(max=num_gates - 1)].float()
        gate_Q = torch.where(asked.offset_Q < num_gates, gate_Q, 0.0)
        anchored_QD = (gate_Q[:, None] * seen.final_ND[anchor_Q]).to(dtype)
    return Inputs(
        torch.cat(parts, 1),
        base_QH.to(dtype),
        anchored_QD,
        (asked.anchor_Q + 1 + asked.offset_Q).int(),
        (1 + asked.block_Q + num_blocks * asked.moment_Q).int(),
        seen.num_seen_1.int(),
    )


def add_norm_reference(
    x_QH: Tensor, more_QH: Tensor | None, weight_H: Tensor
) -> tuple[Tensor, Tensor]:
    if more_QH is not None:
        x_QH = x_QH + more_QH
    normed_QH = functional.rms_norm(x_QH.float(), x_QH.shape[-1:], weight_H.float(), EPS)
    return x_QH, normed_QH.to(x_QH.dtype)


def norm_rotary_reference(
    x_QAE: Tensor, weight_AE: Tensor, position_Q: Tensor, frequency_F: Tensor
) -> Tensor:
    normed_QAE = functional.rms_norm(x_QAE.float(), x_QAE.shape[-1:], eps=EPS) * weight_AE
    angle_Q1F = (position_Q[:, None].float() * frequency_F)[:, None]
    cos, sin = angle_Q1F.cos(), angle_Q1F.sin()
    first, second = normed_QAE.chunk(2, -1)
    rotated = torch.cat([first * cos - second * sin, second * cos + first * sin], -1)
    return rotated.to(x_QAE.dtype)


def gated_reference(x_QI: Tensor) -> Tensor:
    gate, up = x_QI.float().chunk(2, -1)
    return (functional.silu(gate) * up).to(x_QI.dtype)
