"""Log-probabilities and losses of tokens at masked positions, from hidden states and a frozen LM head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

# Shapes: K rows (masked positions), D hidden size, V vocabulary, C columns (V, or V + 1 with NULL), T tokens of each row.

Impl = Literal["auto", "reference", "triton"]

__all__ = ["Impl", "LogProbs", "MaskedLoss", "masked_log_probs", "masked_loss"]


@dataclass(frozen=True, eq=False)
class LogProbs:
    """In nats, float32. The first two have gradients, the others none."""

    log_p_KT: Tensor
    """Of the wanted tokens."""
    mean_log_p_K: Tensor
    """Mean over all columns, for label smoothing."""
    lse_K: Tensor
    """Log-sum-exp of each row's logits."""
    best_K: Tensor
    """Token with the largest logit, int64; NULL is V. Of equal ones the first."""


@dataclass(frozen=True, eq=False)
class MaskedLoss:
    """In nats, float32. The first two have gradients, the others none."""

    cross_entropy_K: Tensor
    """With label smoothing, if any."""
    variation_K: Tensor
    """Total variation to the teacher, 0 to 1; 0 where there is none."""
    log_p_K: Tensor
    """Log-probability of the label."""
    lse_K: Tensor
    best_K: Tensor
    """As in LogProbs."""


def masked_log_probs(
    hidden_KD: Tensor,
    lm_head_VD: Tensor,
    wanted_KT: Tensor,
    *,
    null_logits_K: Tensor | None = None,
    impl: Impl = "auto",
) -> LogProbs:
    """Log-probabilities of a few tokens in each row; the logits never exist as a whole.

    hidden_KD: [K, D] float32, bfloat16 or float16 (the reference also takes float64).
    lm_head_VD: [V, D] of the same dtype, contiguous and frozen: it gets no gradient.
    wanted_KT: [K, T] int64 from 0 to V - 1, and V for NULL if there are null_logits_K. T >= 1; a token may stand twice.
    null_logits_K: [K] floating: the logit of one more column, NULL. It comes from a row of the head's own, and its gradient
    goes there: `null_logits_K = hidden_KD @ null_D` trains null_D.

    Gradients for hidden_KD and null_logits_K. Any loss made of these log-probabilities is differentiable, row weights
    included: the forward pass leaves one vector a row, [K, D] in all, from which the backward pass takes any upstream gradient
    without another matrix product. Do not run the op under activation checkpointing: that would do its work twice.

    A low-rank term m_KR @ M_VR.T in the logits is the same op on [h; m] with the table [E; M], if M is frozen too. One whose
    table is made of the LM head, M = E @ B, is a shift of the hidden states, h + m @ B.T: so smoldiff's head does it. A copy
    term mixes probabilities and is computed from log_p_KT: (1 - copy_K1) * log_p_KT.exp() + copy_K1 * copied_KT.

    impl "triton" agrees with "reference" to float32 rounding of float32 inputs; for 16-bit inputs both round the logits
    to that dtype. Floor: 4 * K * V * D operations with the backward pass, 2 * K * V * D without.

    Raises TypeError and ValueError for dtypes, devices and shapes that do not fit together. Tokens out of range raise
    ValueError on a CPU; on a GPU looking for them would wait for the device: "triton" gives NaN.
    """
    _check(hidden_KD, lm_head_VD, wanted_KT, null_logits_K)
    if impl == "auto":
        impl = "triton" if hidden_KD.is_cuda else "reference"
    if impl == "triton":
        from smoldiff_kernels.masked_loss.launch import log_probs_triton

        return LogProbs(*log_probs_triton(hidden_KD, lm_head_VD, wanted_KT, null_logits_K))
    if impl == "reference":
        from smoldiff_kernels.masked_loss.reference import log_probs_reference

        return LogProbs(*log_probs_reference(hidden_KD, lm_head_VD, wanted_KT, null_logits_K))
    raise ValueError(f"impl={impl!r}: none of auto, reference, triton")


def masked_loss(
    hidden_KD: Tensor,
    lm_head_VD: Tensor,
    labels_K: Tensor,
    *,
    null_logits_K: Tensor | None = None,
    teacher_ids_KT: Tensor | None = None,
    teacher_p_KT: Tensor | None = None,
    label_smoothing: float = 0.0,
    impl: Impl = "auto",
) -> MaskedLoss:
    """Cross entropy to the labels, and total variation to a teacher, row by row.

    labels_K: [K] int64, V for NULL; rows without a label are left out before.
    teacher_ids_KT, teacher_p_KT: [K, T] int64 and floating: the teacher's best tokens and their probabilities. The rest of both
    distributions counts as one more outcome: half of sum_t |p_t - q_t| + |rest_p - rest_q|. A row of zeros in teacher_p_KT
    has no teacher.
    label_smoothing: the share of the cross entropy that goes to all columns alike, NULL among them; 0 <= it < 1. It reads
    the LM head once more in the backward pass.
    The rest, gradients and errors, as in masked_log_probs. Weigh rows and terms outside; it costs no pass over the logits:

        each = masked_loss(hidden_KD, lm_head_VD, labels_K, teacher_ids_KT=ids_KT, teacher_p_KT=p_KT)
        (weights_K * (each.cross_entropy_K + 0.5 * each.variation_K)).sum().backward()

    Weights may depend on log_p_K, as those by the chance that a position is reached do (D-PACE, 2026). Losses as in DSpark (2026).
    """
    if labels_K.ndim != 1:
        raise ValueError(f"labels_K has shape {tuple(labels_K.shape)}; wanted: one label a row")
    if (teacher_ids_KT is None) != (teacher_p_KT is None):
        raise ValueError("teacher_ids_KT and teacher_p_KT: pass both or none")
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing={label_smoothing}; wanted: from 0 to below 1")
    wanted_KT = labels_K[:, None]
    if teacher_ids_KT is not None and teacher_p_KT is not None:
        if teacher_ids_KT.shape != teacher_p_KT.shape or len(teacher_ids_KT) != len(labels_K):
            shapes = [tuple(t.shape) for t in (labels_K, teacher_ids_KT, teacher_p_KT)]
            raise ValueError(f"labels_K, teacher_ids_KT, teacher_p_KT have shapes {shapes}")
        if teacher_ids_KT.dtype != torch.int64:
            raise TypeError(f"teacher_ids_KT is {teacher_ids_KT.dtype}; wanted: int64")
        wanted_KT = torch.cat([wanted_KT, teacher_ids_KT], 1)
    each = masked_log_probs(
        hidden_KD, lm_head_VD, wanted_KT, null_logits_K=null_logits_K, impl=impl
    )
    log_p_K = each.log_p_KT[:, 0]
    cross_entropy_K = -log_p_K
    if label_smoothing:
        cross_entropy_K = torch.lerp(cross_entropy_K, -each.mean_log_p_K, label_smoothing)
    if teacher_p_KT is None:
        variation_K = torch.zeros_like(log_p_K)
    else:
        variation_K = _variation(each.log_p_KT[:, 1:].exp(), teacher_p_KT.to(log_p_K.dtype))
    return MaskedLoss(cross_entropy_K, variation_K, log_p_K.detach(), each.lse_K, each.best_K)


def _variation(p_KT: Tensor, teacher_KT: Tensor) -> Tensor:
    total_K = teacher_KT.sum(1)
    rest_K = (1 - p_KT.sum(1)) - (1 - total_K)
    distance_K = ((p_KT - teacher_KT).abs().sum(1) + rest_K.abs()) / 2
    return torch.where(total_K > 0, distance_K, 0.0)


def _check(
    hidden_KD: Tensor, lm_head_VD: Tensor, wanted_KT: Tensor, null_logits_K: Tensor | None
) -> None:
    shapes = f"hidden_KD {tuple(hidden_KD.shape)}, lm_head_VD {tuple(lm_head_VD.shape)}"
    if hidden_KD.ndim != 2 or lm_head_VD.ndim != 2 or hidden_KD.shape[1] != lm_head_VD.shape[1]:
        raise ValueError(f"{shapes}; wanted: [K, D] and [V, D]")
    if 0 in lm_head_VD.shape:
        raise ValueError(f"{shapes}; wanted: at least one token and one dimension")
    if wanted_KT.ndim != 2 or len(wanted_KT) != len(hidden_KD) or wanted_KT.shape[1] == 0:
        raise ValueError(
            f"tokens {tuple(wanted_KT.shape)} for {len(hidden_KD)} rows; wanted: [K, T], T >= 1"
        )
    if null_logits_K is not None and null_logits_K.shape != hidden_KD.shape[:1]:
        raise ValueError(f"null_logits_K {tuple(null_logits_K.shape)}; wanted: one a row")
    if not hidden_KD.is_floating_point() or hidden_KD.dtype != lm_head_VD.dtype:
        raise TypeError(
            f"hidden_KD is {hidden_KD.dtype}, lm_head_VD {lm_head_VD.dtype}; wanted: one floating dtype"
        )
    if null_logits_K is not None and not null_logits_K.is_floating_point():
        raise TypeError(f"null_logits_K is {null_logits_K.dtype}; wanted: a floating dtype")
    if wanted_KT.dtype != torch.int64:
        raise TypeError(f"tokens are {wanted_KT.dtype}; wanted: int64")
    given = [t for t in (hidden_KD, lm_head_VD, wanted_KT, null_logits_K) if t is not None]
    if len({t.device for t in given}) > 1:
        raise ValueError(f"tensors on {[str(t.device) for t in given]}; wanted: one device")
    if torch.is_grad_enabled() and lm_head_VD.requires_grad:
        raise ValueError("lm_head_VD would get no gradient: freeze it, or pass lm_head_VD.detach()")
    num_columns = len(lm_head_VD) + (null_logits_K is not None)
    if not wanted_KT.is_cuda and ((wanted_KT < 0) | (wanted_KT >= num_columns)).any():
        raise ValueError(f"tokens outside 0 to {num_columns - 1}; leave out rows without a label")
