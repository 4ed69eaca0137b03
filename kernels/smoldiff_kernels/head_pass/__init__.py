"""The row-wise steps of a head's pass, between its matrix products: lookups and sums, norms, rotary embedding, gate.

Each is one launch in "triton", without host synchronisation, so that a CUDA graph can hold it; "reference" is
PyTorch. `auto` takes "triton" on a GPU. Sums are float32, results have the dtype of the head. No gradients.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from smoldiff_kernels.head_pass.operands import Asked, Inputs, Rows, Seen
from smoldiff_kernels.head_pass.reference import (
    add_norm_reference,
    gated_reference,
    inputs_reference,
    norm_rotary_reference,
)

__all__ = [
    "Asked",
    "Impl",
    "Inputs",
    "Rows",
    "Seen",
    "add_norm",
    "gated",
    "inputs",
    "norm_rotary",
]

# Shapes as in `operands`; A heads, E head width, F = E / 2, I columns of gate and up.

Impl = Literal["auto", "reference", "triton"]


def inputs(asked: Asked, seen: Seen, rows: Rows, *, num_blocks: int, impl: Impl = "auto") -> Inputs:
    """What the first product of a pass takes, and what stands beside it.

    Token embeddings count with a root mean square of 1, a name as the mean of its tokens. The row's tokens stand at
    positions 0, 1, ...; a query stands its offset behind its anchor. An anchor behind the tokens seen reads the last one.
    """
    if _is_triton(impl, rows.mask_H):
        from smoldiff_kernels.head_pass.kernel import inputs_triton

        return inputs_triton(asked, seen, rows, num_blocks)
    return inputs_reference(asked, seen, rows, num_blocks)


def add_norm(
    x_QH: Tensor, more_QH: Tensor | None, weight_H: Tensor, *, impl: Impl = "auto"
) -> tuple[Tensor, Tensor]:
    """The sum, and its root mean square norm times the weight."""
    if _is_triton(impl, x_QH):
        from smoldiff_kernels.head_pass.kernel import add_norm_triton

        return add_norm_triton(x_QH, more_QH, weight_H)
    return add_norm_reference(x_QH, more_QH, weight_H)


def norm_rotary(
    x_QAE: Tensor,
    weight_AE: Tensor,
    position_Q: Tensor,
    frequency_F: Tensor,
    *,
    impl: Impl = "auto",
) -> Tensor:
    """Queries and keys: norm of each head, times its weight, then rotary position embedding (Su et al., 2021).

    x_QAE: heads and their width contiguous; queries at any distance. position_Q integers, frequency_F float32.
    """
    if _is_triton(impl, x_QAE):
        from smoldiff_kernels.head_pass.kernel import norm_rotary_triton

        return norm_rotary_triton(x_QAE, weight_AE, position_Q, frequency_F)
    return norm_rotary_reference(x_QAE, weight_AE, position_Q, frequency_F)


def gated(x_QI: Tensor, *, impl: Impl = "auto") -> Tensor:
    """SiLU of the first half of the columns times the second half."""
    if _is_triton(impl, x_QI):
        from smoldiff_kernels.head_pass.kernel import gated_triton

        return gated_triton(x_QI)
    return gated_reference(x_QI)


def _is_triton(impl: Impl, x: Tensor) -> bool:
    if impl not in ("auto", "reference", "triton"):
        raise ValueError(f'impl must be "auto", "reference" or "triton", not {impl!r}')
    return impl == "triton" or (impl == "auto" and x.is_cuda)
