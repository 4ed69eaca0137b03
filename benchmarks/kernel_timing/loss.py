"""Cases of the masked-position loss, forward and backward, for an LM head that is frozen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from kernel_timing.case import OURS, Case, Target
from kernel_timing.clock import Work
from smoldiff_kernels.masked_loss import masked_loss

# Shapes: K rows, D hidden size, V vocabulary, T best tokens of a teacher.

OP = "masked_loss"
NUM_TEACHER = 8
PRODUCTS = "the two products alone"
PEERS = ("torch eager", "torch.compile", "Liger", "cut-cross-entropy")


def cases(is_small: bool) -> list[Case]:
    sizes = [(6, 8, 40)] if is_small else [(k, 2048, 128_256) for k in (1024, 4096, 16_384)]
    found = []
    for size in sizes:
        targets = [Target("floor", 1.25), Target("MiB", 256)]
        targets += [Target(PRODUCTS, 1.25), *(Target(name, 1.0, is_speed=True) for name in PEERS)]
        found.append(_case(size, "cross entropy", targets, _plain))
        found.append(_case(size, "cross entropy, NULL, teacher", targets[:3], _with_teacher))
    return found


def _case(
    size: tuple[int, int, int],
    what: str,
    targets: list[Target],
    make: Callable[[tuple[int, int, int], torch.device], Mapping[str, Work | None]],
) -> Case:
    k, d, v = size
    # Two products of the same size: the logits, and their gradient times the LM head.
    num_bytes = 2.0 * (2 * v * d + 3 * k * d)
    shape = f"{k} rows, {d} x {v}, {what}"
    return Case(OP, shape, 4.0 * k * v * d, num_bytes, partial(make, size), targets)


def _operands(size: tuple[int, int, int], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    k, d, v = size
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    hidden_KD = torch.randn(k, d, device=device).to(dtype).requires_grad_()
    lm_head_VD = (torch.randn(v, d, device=device) * d**-0.5).to(dtype)
    return hidden_KD, lm_head_VD, torch.randint(0, v, (k,), device=device)


def _plain(size: tuple[int, int, int], device: torch.device) -> dict[str, Work | None]:
    hidden_KD, lm_head_VD, labels_K = _operands(size, device)

    def step(loss: Callable[[], Tensor]) -> Work:
        return lambda _: torch.autograd.grad(loss(), hidden_KD)

    def eager(h_KD: Tensor) -> Tensor:
        return nn.functional.cross_entropy((h_KD @ lm_head_VD.T).float(), labels_K)

    compiled = torch.compile(eager) if device.type == "cuda" else None
    return {
        OURS: step(lambda: masked_loss(hidden_KD, lm_head_VD, labels_K).cross_entropy_K.mean()),
        PRODUCTS: _products(hidden_KD.detach(), lm_head_VD),
        "torch eager": step(lambda: eager(hidden_KD)),
        "torch.compile": compiled and step(lambda: compiled(hidden_KD)),
        "Liger": _liger(step, hidden_KD, lm_head_VD, labels_K),
        "cut-cross-entropy": _cut_cross_entropy(step, hidden_KD, lm_head_VD, labels_K),
    }


def _products(hidden_KD: Tensor, lm_head_VD: Tensor) -> Work:
    """What any implementation must compute: the logits, and a product of their size with the LM head."""

    def both(_: int) -> Tensor:
        return (hidden_KD @ lm_head_VD.T) @ lm_head_VD

    return both


def _with_teacher(size: tuple[int, int, int], device: torch.device) -> dict[str, Work | None]:
    hidden_KD, lm_head_VD, labels_K = _operands(size, device)
    k, _, v = size
    ids_KT = torch.randint(0, v, (k, NUM_TEACHER), device=device)
    p_KT = torch.rand(k, NUM_TEACHER, device=device).softmax(1) * 0.9
    null_D = torch.randn(size[1], device=device, dtype=hidden_KD.dtype).requires_grad_()
    weights_K = torch.rand(k, device=device)

    def work(_: int) -> tuple[Tensor, ...]:
        each = masked_loss(
            hidden_KD,
            lm_head_VD,
            labels_K,
            null_logits_K=hidden_KD @ null_D,
            teacher_ids_KT=ids_KT,
            teacher_p_KT=p_KT,
        )
        loss = (weights_K * (each.cross_entropy_K + each.variation_K)).mean()
        return torch.autograd.grad(loss, [hidden_KD, null_D])

    return {OURS: work, PRODUCTS: _products(hidden_KD.detach(), lm_head_VD)}


def _liger(
    step: Callable[[Callable[[], Tensor]], Work], h_KD: Tensor, table_VD: Tensor, labels_K: Tensor
) -> Work | None:
    try:
        from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss
    except ImportError:
        return None
    loss = LigerFusedLinearCrossEntropyLoss()
    return step(lambda: loss(table_VD, h_KD, labels_K)) if h_KD.is_cuda else None


def _cut_cross_entropy(
    step: Callable[[Callable[[], Tensor]], Work], h_KD: Tensor, table_VD: Tensor, labels_K: Tensor
) -> Work | None:
    try:
        from cut_cross_entropy import linear_cross_entropy
    except ImportError:
        return None
    return step(lambda: linear_cross_entropy(h_KD, table_VD, labels_K)) if h_KD.is_cuda else None
