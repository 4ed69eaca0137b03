"""The row-wise steps in Triton, one launch each: between matrix products a launch is what they cost.

Bytes are those of the operands and results, a few hundred KB at 128 queries of 2,048 numbers: under a microsecond.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
# Triton gives parameters their types when it compiles.

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from smoldiff_kernels.head_pass.operands import EPS, Asked, Inputs, Rows, Seen
from smoldiff_kernels.marks import NULL

# Shapes as in `operands`; A heads, E head width, F = E / 2, I columns of gate and up.

GATED_BLOCK = 1024


def check_device(x: Tensor) -> None:
    if not x.is_cuda and isinstance(_inputs, triton.JITFunction):
        raise ValueError(
            "impl='triton' needs tensors on a GPU; without one set TRITON_INTERPRET=1 before triton is imported"
        )


def inputs_triton(asked: Asked, seen: Seen, rows: Rows, num_blocks: int) -> Inputs:
    check_device(rows.mask_H)
    (num_queries, num_names), size = asked.name_QL.shape, len(rows.mask_H)
    base_size, has_anchor = seen.embedding_VD.shape[1], rows.gate_O is not None
    like = {"dtype": rows.mask_H.dtype, "device": rows.mask_H.device}
    width = 2 * base_size + (size if has_anchor else 0)
    x_QX = torch.empty(num_queries, width, **like)
    base_QH = torch.empty(num_queries, size, **like)
    anchored_QD = torch.empty(num_queries, base_size, **like) if has_anchor else None
    position_Q, group_Q = torch.empty(
        2, num_queries, dtype=torch.int32, device=base_QH.device
    ).unbind()
    num_seen_1 = torch.empty(1, dtype=torch.int32, device=base_QH.device)
    asked = Asked(*(t.contiguous() for t in asked))
    with torch.cuda.device_of(base_QH):
        _inputs[(num_queries,)](
            *asked._replace(is_fed_Q=asked.is_fed_Q.view(torch.uint8)),
            *seen,
            rows.mask_H,
            rows.kind_KH,
            rows.index_IH,
            rows.fed_H,
            rows.place_PH,
            rows.gate_O,
            x_QX,
            base_QH,
            anchored_QD,
            position_Q,
            group_Q,
            num_seen_1,
            seen.embedding_VD.stride(0),
            seen.fused_NH.stride(0),
            seen.final_ND.stride(0),
            num_blocks,
            0 if rows.place_PH is None else len(rows.place_PH),
            0 if rows.gate_O is None else len(rows.gate_O),
            EPS=EPS,
            NULL=NULL,
            L=num_names,
            D=base_size,
            H=size,
            X=width,
            BLOCK_D=triton.next_power_of_2(base_size),
            BLOCK_H=triton.next_power_of_2(size),
            num_warps=8,
        )
    return Inputs(x_QX, base_QH, anchored_QD, position_Q, group_Q, num_seen_1)


def add_norm_triton(
    x_QH: Tensor, more_QH: Tensor | None, weight_H: Tensor
) -> tuple[Tensor, Tensor]:
    check_device(x_QH)
    num_queries, size = x_QH.shape
    x_QH = x_QH.contiguous()
    sum_QH = x_QH if more_QH is None else torch.empty_like(x_QH)
    normed_QH = torch.empty_like(x_QH)
    with torch.cuda.device_of(x_QH):
        _add_norm[(num_queries,)](
            x_QH,
            None if more_QH is None else more_QH.contiguous(),
            weight_H,
            sum_QH,
            normed_QH,
            EPS=EPS,
            H=size,
            BLOCK_H=triton.next_power_of_2(size),
            num_warps=4,
        )
    return sum_QH, normed_QH


def norm_rotary_triton(
    x_QAE: Tensor, weight_AE: Tensor, position_Q: Tensor, frequency_F: Tensor
) -> Tensor:
    check_device(x_QAE)
    num_queries, num_heads, width = x_QAE.shape
    out_QAE = torch.empty(x_QAE.shape, dtype=x_QAE.dtype, device=x_QAE.device)
    with torch.cuda.device_of(x_QAE):
        _norm_rotary[(num_queries,)](
            x_QAE,
            weight_AE,
            position_Q,
            frequency_F,
            out_QAE,
            x_QAE.stride(0),
            EPS=EPS,
            A=num_heads,
            F=width // 2,
            BLOCK_A=triton.next_power_of_2(num_heads),
            BLOCK_F=triton.next_power_of_2(width // 2),
            num_warps=4,
        )
    return out_QAE


def gated_triton(x_QI: Tensor) -> Tensor:
    check_device(x_QI)
    num_queries, width = x_QI.shape[0], x_QI.shape[1] // 2
    x_QI = x_QI.contiguous()
    out = torch.empty(num_queries, width, dtype=x_QI.dtype, device=x_QI.device)
    block = min(GATED_BLOCK, triton.next_power_of_2(width))
    with torch.cuda.device_of(x_QI):
        _gated[(num_queries, triton.cdiv(width, block))](
            x_QI, out, WIDTH=width, BLOCK=block, num_warps=4
        )
    return out


@triton.jit
def _normed(
    embedding_ptr,
    stride,
    token,
    d_D,
    is_d_D,
    D: tl.constexpr,
    EPS: tl.constexpr,
    NULL: tl.constexpr,
):
    """A token's embedding with a root mean square of 1; zeros for no token."""
    at = embedding_ptr + tl.maximum(token, 0).to(tl.int64) * stride
    x_D = tl.load(at + d_D, mask=is_d_D, other=0.0).to(tl.float32)
    x_D = x_D * tl.rsqrt(tl.sum(x_D * x_D, 0) / D + EPS)
    return tl.where(token != NULL, x_D, 0.0)


@triton.jit
def _row(table_ptr, index, h_H, is_h_H, H: tl.constexpr):
    return tl.load(table_ptr + index * H + h_H, mask=is_h_H, other=0.0).to(tl.float32)


@triton.jit(do_not_specialize=["num_blocks", "num_places", "num_gates"])
def _inputs(
    block_ptr,
    kind_ptr,
    anchor_ptr,
    offset_ptr,
    place_ptr,
    index_ptr,
    fed_ptr,
    token_ptr,
    moment_ptr,
    name_ptr,
    embedding_ptr,
    fused_ptr,
    final_ptr,
    num_seen_ptr,
    mask_ptr,
    kinds_ptr,
    indices_ptr,
    fed_row_ptr,
    places_ptr,
    gates_ptr,
    x_ptr,
    base_ptr,
    anchored_ptr,
    position_ptr,
    group_ptr,
    num_seen_out_ptr,
    embedding_stride,
    fused_stride,
    final_stride,
    num_blocks,
    num_places,
    num_gates,
    EPS: tl.constexpr,
    NULL: tl.constexpr,
    L: tl.constexpr,
    D: tl.constexpr,
    H: tl.constexpr,
    X: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_H: tl.constexpr,
):
    """Grid: queries."""
    q = tl.program_id(0).to(tl.int64)
    d_D, h_H = tl.arange(0, BLOCK_D), tl.arange(0, BLOCK_H)
    is_d_D, is_h_H = d_D < D, h_H < H
    dtype = x_ptr.dtype.element_ty

    token = tl.load(token_ptr + q)
    own_D = _normed(embedding_ptr, embedding_stride, token, d_D, is_d_D, D, EPS, NULL)
    tl.store(x_ptr + q * X + d_D, own_D.to(dtype), mask=is_d_D)
    name_D = tl.zeros((BLOCK_D,), tl.float32)
    num_names = 0.0
    for l in tl.static_range(L):  # noqa: E741
        name = tl.load(name_ptr + q * L + l)
        name_D += _normed(embedding_ptr, embedding_stride, name, d_D, is_d_D, D, EPS, NULL)
        num_names += tl.where(name != NULL, 1.0, 0.0)
    name_D = name_D / tl.maximum(num_names, 1.0)
    tl.store(x_ptr + q * X + D + d_D, name_D.to(dtype), mask=is_d_D)

    base_H = _row(kinds_ptr, tl.load(kind_ptr + q), h_H, is_h_H, H)
    base_H += _row(indices_ptr, tl.load(index_ptr + q), h_H, is_h_H, H)
    is_fed = tl.load(fed_ptr + q) != 0
    base_H += tl.where(is_fed, _row(fed_row_ptr, 0, h_H, is_h_H, H), 0.0)
    base_H += tl.where(token == NULL, _row(mask_ptr, 0, h_H, is_h_H, H), 0.0)
    if places_ptr is not None:
        place = tl.minimum(tl.load(place_ptr + q), num_places - 1)
        base_H += _row(places_ptr, place, h_H, is_h_H, H)
    tl.store(base_ptr + q * H + h_H, base_H.to(dtype), mask=is_h_H)

    anchor, offset = tl.load(anchor_ptr + q), tl.load(offset_ptr + q)
    num_seen = tl.load(num_seen_ptr)
    if q == 0:
        tl.store(num_seen_out_ptr, num_seen.to(tl.int32))
    if gates_ptr is not None:
        kept = tl.minimum(anchor, num_seen - 1)
        fused_H = tl.load(fused_ptr + kept * fused_stride + h_H, mask=is_h_H, other=0.0)
        tl.store(x_ptr + q * X + 2 * D + h_H, fused_H.to(dtype), mask=is_h_H)
        gate = tl.load(gates_ptr + offset, mask=offset < num_gates, other=0.0).to(tl.float32)
        final_D = tl.load(final_ptr + kept * final_stride + d_D, mask=is_d_D, other=0.0)
        anchored_D = gate * final_D.to(tl.float32)
        tl.store(anchored_ptr + q * D + d_D, anchored_D.to(dtype), mask=is_d_D)
    tl.store(position_ptr + q, (anchor + 1 + offset).to(tl.int32))
    group = 1 + tl.load(block_ptr + q) + num_blocks * tl.load(moment_ptr + q)
    tl.store(group_ptr + q, group.to(tl.int32))


@triton.jit
def _add_norm(
    x_ptr,
    more_ptr,
    weight_ptr,
    sum_ptr,
    normed_ptr,
    EPS: tl.constexpr,
    H: tl.constexpr,
    BLOCK_H: tl.constexpr,
):
    """Grid: queries."""
    q = tl.program_id(0).to(tl.int64)
    h_H = tl.arange(0, BLOCK_H)
    is_h_H = h_H < H
    x_H = tl.load(x_ptr + q * H + h_H, mask=is_h_H, other=0.0)
    dtype = x_H.dtype
    if more_ptr is not None:
        more_H = tl.load(more_ptr + q * H + h_H, mask=is_h_H, other=0.0)
        x_H = (x_H.to(tl.float32) + more_H.to(tl.float32)).to(dtype)
        tl.store(sum_ptr + q * H + h_H, x_H, mask=is_h_H)
    x_H = x_H.to(tl.float32)
    weight_H = tl.load(weight_ptr + h_H, mask=is_h_H, other=0.0).to(tl.float32)
    normed_H = x_H * tl.rsqrt(tl.sum(x_H * x_H, 0) / H + EPS) * weight_H
    tl.store(normed_ptr + q * H + h_H, normed_H.to(dtype), mask=is_h_H)


@triton.jit
def _norm_rotary(
    x_ptr,
    weight_ptr,
    position_ptr,
    frequency_ptr,
    out_ptr,
    x_stride,
    EPS: tl.constexpr,
    A: tl.constexpr,
    F: tl.constexpr,
    BLOCK_A: tl.constexpr,
    BLOCK_F: tl.constexpr,
):
    """Grid: queries. The two halves of a head's width turn as pairs."""
    q = tl.program_id(0).to(tl.int64)
    a_A, f_F = tl.arange(0, BLOCK_A), tl.arange(0, BLOCK_F)
    mask = (a_A < A)[:, None] & (f_F < F)[None, :]
    at = a_A[:, None] * (2 * F) + f_F[None, :]
    first = tl.load(x_ptr + q * x_stride + at, mask=mask, other=0.0).to(tl.float32)
    second = tl.load(x_ptr + q * x_stride + at + F, mask=mask, other=0.0).to(tl.float32)
    scale_A = tl.rsqrt(tl.sum(first * first + second * second, 1) / (2 * F) + EPS)
    weight_first = tl.load(weight_ptr + at, mask=mask, other=0.0).to(tl.float32)
    weight_second = tl.load(weight_ptr + at + F, mask=mask, other=0.0).to(tl.float32)
    first = first * scale_A[:, None] * weight_first
    second = second * scale_A[:, None] * weight_second
    frequency_F = tl.load(frequency_ptr + f_F, mask=f_F < F, other=0.0)
    angle_F = tl.load(position_ptr + q).to(tl.float32) * frequency_F
    cos, sin = tl.cos(angle_F)[None, :], tl.sin(angle_F)[None, :]
    dtype = out_ptr.dtype.element_ty
    out_at = out_ptr + q * (A * 2 * F) + at
    tl.store(out_at, (first * cos - second * sin).to(dtype), mask=mask)
    tl.store(out_at + F, (second * cos + first * sin).to(dtype), mask=mask)


@triton.jit
def _gated(x_ptr, out_ptr, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    """Grid: queries, blocks of columns."""
    q = tl.program_id(0).to(tl.int64)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = i < WIDTH
    gate = tl.load(x_ptr + q * (2 * WIDTH) + i, mask=mask, other=0.0).to(tl.float32)
    up = tl.load(x_ptr + q * (2 * WIDTH) + WIDTH + i, mask=mask, other=0.0).to(tl.float32)
    out = gate * tl.sigmoid(gate) * up
    tl.store(out_ptr + q * WIDTH + i, out.to(out_ptr.dtype.element_ty), mask=mask)
