"""Head attention by Triton: what is launched for a call, and its gradient."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
import triton
from torch import Tensor

from smoldiff_kernels.chained import can_chain, chained
from smoldiff_kernels.head_attention.backward import key_gradient_kernel, query_gradient_kernel
from smoldiff_kernels.head_attention.configs import (
    LOG2_E,
    GradientPlan,
    Tiles,
    Work,
    cdiv,
    device_of,
    forward_plan,
    gradient_plan,
    next_power_of_2,
    whole_plan,
)
from smoldiff_kernels.head_attention.forward import forward_kernel, merge_kernel
from smoldiff_kernels.head_attention.layout import DTYPES, Layout, needs_gradient
from smoldiff_kernels.head_attention.libraries import cudnn_attention

# Shapes: B rows, A query heads, G key/value heads, R = A / G, E head width.

MAX_HEAD_DIM = 256
MAX_ORDERED = 64
"""Rows that programs order by length, each for itself. Of more, several share each multiprocessor anyway."""
SPLITS_A_WARP = 16
"""Of the merge: how many partial rows a warp holds in its registers."""


@torch.compiler.disable  # kernels with a gradient of their own: nothing for a compiler to fuse
def head_attention_triton(
    q: Tensor,
    context: tuple[Tensor, Tensor],
    template: tuple[Tensor, Tensor],
    layout: Layout,
    impl: Literal["triton", "cudnn"] = "triton",
) -> Tensor:
    """All by our kernels or, with "cudnn", the context by cuDNN's, from where ours go on over the template."""
    _check(q, layout, impl)
    tensors = (q, *context, *template)
    if needs_gradient(tensors):
        return _HeadAttention.apply(*tensors, layout, impl)
    return _forward(tuple(map(_with_whole_heads, tensors)), layout, impl, has_lse=False)[0]


def _check(q: Tensor, layout: Layout, impl: str) -> None:
    if q.dtype not in DTYPES or q.shape[-1] > MAX_HEAD_DIM:
        raise ValueError(
            f"impl={impl!r} takes head widths up to {MAX_HEAD_DIM} in float32, bfloat16 or float16, not "
            f"{q.shape[-1]} in {q.dtype}; use impl='sdpa'"
        )
    if not q.is_cuda and isinstance(forward_kernel, triton.JITFunction):
        raise ValueError(
            f"impl={impl!r} needs tensors on a GPU; without one set TRITON_INTERPRET=1 before triton is imported"
        )
    if impl == "cudnn" and (layout.has_lengths or layout.has_groups):
        raise ValueError("impl='cudnn' takes full rows without groups; use impl='triton'")


def _forward(
    tensors: tuple[Tensor, ...], layout: Layout, impl: str, has_lse: bool
) -> tuple[Tensor, Tensor | None]:
    if impl == "triton" or not layout.max_context:
        return forward(tensors, layout, has_lse)
    begun = cudnn_attention(tensors[:3], layout.scale)
    return forward(tensors, layout._replace(max_context=0), has_lse, begun=begun)


class _HeadAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *args: Any) -> Tensor:
        layout, impl = args[-2:]
        tensors = tuple(map(_with_whole_heads, args[:-2]))
        out, lse = _forward(tensors, layout, impl, has_lse=True)
        ctx.save_for_backward(*tensors, out, lse)
        ctx.layout = layout
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, ...]:
        *tensors, out, lse = ctx.saved_tensors
        needs_keys = any(ctx.needs_input_grad[1:5])
        return *backward(tuple(tensors), out, lse, d_out, ctx.layout, needs_keys), None, None


def forward(
    tensors: tuple[Tensor, ...],
    layout: Layout,
    has_lse: bool,
    plan: tuple[Tiles, int] | None = None,
    begun: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor | None]:
    """The output and, if wanted, the log-sum-exp to base 2. `plan` is for measuring.

    begun: what keys that are not among the tensors gave, and their natural log-sum-exp, as `cudnn_attention` returns them.
    """
    q = tensors[0]
    device = device_of(q.device)
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    num_rows = q.numel() // q.shape[-1]
    lse = torch.empty(num_rows, dtype=torch.float32, device=q.device) if has_lse else None
    if not out.numel():
        return out, lse
    work = work_of(tensors, layout)
    plan = plan or (forward_plan if begun is None else whole_plan)(work, device)
    tiles, tiles_per_split = plan
    num_splits, part, part_lse = work.num_splits(tiles.block_n, tiles_per_split), out, lse
    if num_splits > 1:
        part = torch.empty(num_splits * out.numel(), dtype=torch.float32, device=q.device)
        part_lse = torch.empty(num_splits * num_rows, dtype=torch.float32, device=q.device)
    num_kv_heads = tensors[3].shape[-2]
    has_descriptors = tiles.has_descriptors and all(map(_is_aligned, tensors[1:]))
    launch = chained(tiles.is_chained and can_chain(q.device))
    is_ordered = layout.has_lengths and 1 < layout.num_rows <= MAX_ORDERED
    grid = (
        cdiv(work.num_queries, tiles.block_m),
        num_kv_heads * num_splits,
        layout.num_rows,
    )
    with _on(q):
        if has_descriptors:
            triton.set_allocator(_scratch)
        forward_kernel[grid](
            *tensors,
            part,
            part_lse,
            *layout[:5],
            *(begun or (None, None)),
            *_strides(tensors),
            layout.scale * LOG2_E,
            layout.max_template,
            layout.max_context,
            tiles_per_split,
            num_rows,
            IS_SPLIT=num_splits > 1,
            HAS_DESCRIPTORS=has_descriptors,
            BLOCK_B=next_power_of_2(layout.num_rows) if is_ordered else 0,
            **launch,
            **_constants(tensors, layout, tiles),
        )
        if num_splits > 1:
            block_s = next_power_of_2(num_splits)
            merge_kernel[(num_rows,)](
                part,
                part_lse,
                out,
                lse,
                num_splits,
                num_rows,
                E=q.shape[-1],
                BLOCK_S=block_s,
                BLOCK_E=work.block_e,
                **launch,
                num_warps=max(1, block_s // SPLITS_A_WARP),
                enable_fp_fusion=True,
            )
    return out, lse


def backward(
    tensors: tuple[Tensor, ...],
    out: Tensor,
    lse: Tensor,
    d_out: Tensor,
    layout: Layout,
    needs_keys: bool,
    plan: GradientPlan | None = None,
) -> tuple[Tensor | None, ...]:
    """The gradients of the five tensors; of queries alone without `needs_keys`. `plan` is for measuring."""
    q = tensors[0]
    work, device = work_of(tensors, layout), device_of(q.device)
    dq, *d_keys = (torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in tensors)
    delta = torch.empty_like(lse)
    for_queries, tiles_per_split, for_keys = plan or gradient_plan(work, device)
    num_kv_heads = tensors[3].shape[-2]
    d_out = d_out.contiguous()
    more = (*layout[:5], *_strides(tensors), layout.scale, layout.scale * LOG2_E)
    num_splits, part = work.num_splits(for_queries.block_n, tiles_per_split), dq
    if num_splits > 1:
        part = torch.empty((num_splits, *dq.shape), dtype=torch.float32, device=dq.device)
    with _on(q):
        if dq.numel():
            tiles_m = cdiv(work.num_queries, for_queries.block_m)
            query_gradient_kernel[(tiles_m, num_kv_heads * num_splits, layout.num_rows)](
                *tensors,
                out,
                lse,
                d_out,
                part,
                delta,
                *more,
                layout.max_template,
                layout.max_context,
                tiles_per_split,
                dq.numel(),
                IS_SPLIT=num_splits > 1,
                **_constants(tensors, layout, for_queries),
            )
            if num_splits > 1:
                dq = part.sum(0).to(dq.dtype)
        if not needs_keys:
            return dq, None, None, None, None
        max_context_tiles, max_template_tiles = (
            cdiv(num, for_keys.block_n) for num in work.num_keys
        )
        tiles_n = max_context_tiles + max_template_tiles
        if tiles_n and layout.num_rows:
            key_gradient_kernel[(tiles_n, num_kv_heads, layout.num_rows)](
                *tensors,
                lse,
                d_out,
                delta,
                *d_keys,
                *more,
                layout.max_template,
                layout.max_context,
                max_context_tiles,
                **_constants(tensors, layout, for_keys),
            )
    return dq, *d_keys


def work_of(tensors: tuple[Tensor, ...], layout: Layout) -> Work:
    q, num_kv_heads = tensors[0], tensors[3].shape[-2]
    return Work(
        layout.num_rows * num_kv_heads,
        layout.max_template * (q.shape[-2] // num_kv_heads),
        (layout.max_context, layout.max_template),
        max(16, next_power_of_2(q.shape[-1])),
        q.dtype == torch.float32,
        layout.has_groups,
        layout.has_lengths,
    )


def _constants(tensors: tuple[Tensor, ...], layout: Layout, tiles: Tiles) -> dict[str, Any]:
    q, num_kv_heads = tensors[0], tensors[3].shape[-2]
    return {
        "G": num_kv_heads,
        "R": q.shape[-2] // num_kv_heads,
        "E": q.shape[-1],
        "IS_TEMPLATE_PACKED": layout.is_template_packed,
        "IS_CONTEXT_PACKED": layout.is_context_packed,
        # Products of float32 in full: tensor cores would round to tf32.
        "PRECISION": "ieee" if q.dtype == torch.float32 else "tf32",
        "BLOCK_M": tiles.block_m,
        "BLOCK_N": tiles.block_n,
        "BLOCK_E": max(16, next_power_of_2(q.shape[-1])),
        "num_warps": tiles.num_warps,
        "num_stages": tiles.num_stages,
        "enable_fp_fusion": True,
    }


def _strides(tensors: tuple[Tensor, ...]) -> list[int]:
    """Of each tensor those of rows, tokens and heads."""
    found: list[int] = []
    for x in tensors:
        found += x.stride()[:3] if x.dim() == 4 else (0, *x.stride()[:2])
    return found


def _with_whole_heads(x: Tensor) -> Tensor:
    return x if x.stride(-1) == 1 else x.contiguous()


def _is_aligned(x: Tensor) -> bool:
    """Whether the copy engine can read it: addresses in steps of 16 bytes."""
    step = 16 // x.element_size()
    return x.data_ptr() % 16 == 0 and all(stride % step == 0 for stride in x.stride()[:-1])


def _scratch(num_bytes: int, alignment: int, stream: int | None) -> Tensor:
    """Memory for the descriptors that a kernel writes."""
    return torch.empty(num_bytes, dtype=torch.int8, device="cuda")


def _on(x: Tensor) -> AbstractContextManager[Any]:
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()
