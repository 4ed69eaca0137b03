"""The join, and a library's attention: baselines, and what is left where Triton is not."""

from __future__ import annotations

from importlib import import_module

import torch
from torch import Tensor

from smoldiff_kernels.head_attention.joined import joined, unjoined
from smoldiff_kernels.head_attention.layout import Layout, needs_gradient

# Shapes: B rows, T template positions, K keys of context and template, N tokens and S positions of all rows, A query heads,
# G key/value heads, E head width.


def head_attention_sdpa(
    q: Tensor, context: tuple[Tensor, Tensor], template: tuple[Tensor, Tensor], layout: Layout
) -> Tensor:
    if not (layout.has_lengths or layout.has_groups):
        # Without a mask, PyTorch may take its fastest kernels.
        keys, values = (torch.cat(pair, 1) for pair in zip(context, template, strict=True))
        out_BATE = torch.nn.functional.scaled_dot_product_attention(
            q.transpose(1, 2),
            keys.transpose(1, 2),
            values.transpose(1, 2),
            scale=layout.scale,
            enable_gqa=True,
        )
        return out_BATE.transpose(1, 2)
    q_BATE, k_BGKE, v_BGKE, sees_BTK = joined(q, context, template, layout)
    repeats = q_BATE.shape[1] // k_BGKE.shape[1]
    has_key_BT1 = sees_BTK.any(-1, keepdim=True)
    out_BATE = torch.nn.functional.scaled_dot_product_attention(
        q_BATE,
        k_BGKE.repeat_interleave(repeats, 1),
        v_BGKE.repeat_interleave(repeats, 1),
        # A query that sees nothing sees all instead, and is cleared: its softmax would be NaN.
        attn_mask=(sees_BTK | ~has_key_BT1)[:, None],
        scale=layout.scale,
    )
    return unjoined(out_BATE.masked_fill(~has_key_BT1[:, None], 0.0), q, layout)


def cudnn_attention(tensors: tuple[Tensor, ...], scale: float) -> tuple[Tensor, Tensor]:
    """Of q [B, T, A, E] over keys and values [B, K, G, E]: the output [B, T, A, E], and the natural log-sum-exp of the logits
    [B, A, T] float32; both contiguous."""
    by_head = [x.transpose(1, 2) for x in tensors]
    found = torch.ops.aten._scaled_dot_product_cudnn_attention(
        *by_head, None, compute_log_sumexp=True, scale=scale
    )
    out_BATE, lse = found[:2]
    return out_BATE.transpose(1, 2).contiguous(), lse.reshape(out_BATE.shape[:3]).contiguous()


def head_attention_xformers(
    q: Tensor, context: tuple[Tensor, Tensor], template: tuple[Tensor, Tensor], layout: Layout
) -> Tensor:
    """xformers' kernels for parts of the keys, merged by their log-sum-exp. Raises ValueError where there is more to it."""
    if layout.has_lengths or layout.has_groups or needs_gradient((q, *context, *template)):
        raise ValueError(
            "impl='xformers' takes full rows without groups, and has no gradient; use impl='triton'"
        )
    fmha = import_module("xformers.ops.fmha")
    num_kv_heads = template[0].shape[-2]
    q_BTGRE = q.unflatten(-2, (num_kv_heads, -1))
    repeats = q_BTGRE.shape[-2]
    parts = [
        fmha.memory_efficient_attention_partial(
            q_BTGRE,
            *(x.unsqueeze(-2).expand(-1, -1, -1, repeats, -1) for x in pair),
            scale=layout.scale,
        )
        for pair in (context, template)
        if pair[0].shape[1]
    ]
    out_BTGRE: Tensor = fmha.merge_attentions(
        *(list(of_all) for of_all in zip(*parts, strict=True)), write_lse=False
    )[0]
    return out_BTGRE.flatten(-3, -2)


def head_attention_flash(
    q: Tensor, context: tuple[Tensor, Tensor], template: tuple[Tensor, Tensor], layout: Layout
) -> Tensor:
    """flash-attn's kernel for ragged rows. Raises ValueError for lengths of padded rows and for groups."""
    flash_attn = import_module("flash_attn")  # only where somebody has built it
    if layout.has_groups:
        raise ValueError("impl='flash' knows no groups; use 'triton'")
    starts_t = _starts(layout, q.device, is_template=True)
    starts_c = _starts(layout, q.device, is_template=False)
    flat_q = q.flatten(0, -3)
    flat_c, flat_t = ([x.flatten(0, -3) for x in pair] for pair in (context, template))
    num_c, num_t = len(flat_c[0]), len(flat_t[0])
    # Context token n of row b moves behind the template's tokens of the rows before it; a position behind its row's context.
    at_N = torch.arange(num_c, device=q.device)
    at_N = at_N + starts_t[torch.bucketize(at_N, starts_c[1:], right=True)]
    at_S = torch.arange(num_t, device=q.device)
    at_S = at_S + starts_c[torch.bucketize(at_S, starts_t[1:], right=True) + 1]
    order = torch.cat([at_N, at_S]).argsort()
    keys, values = (torch.cat(pair)[order] for pair in zip(flat_c, flat_t, strict=True))
    out: Tensor = flash_attn.flash_attn_varlen_func(
        flat_q,
        keys,
        values,
        cu_seqlens_q=starts_t,
        cu_seqlens_k=starts_t + starts_c,
        max_seqlen_q=layout.max_template,
        max_seqlen_k=layout.max_template + layout.max_context,
        softmax_scale=layout.scale,
    )
    return out.view(q.shape)


def _starts(layout: Layout, device: torch.device, is_template: bool) -> Tensor:
    """[B + 1] int32: where the rows of a side start."""
    if is_template:
        lengths, is_packed, most = (
            layout.template_lengths,
            layout.is_template_packed,
            layout.max_template,
        )
    else:
        lengths, is_packed, most = (
            layout.context_lengths,
            layout.is_context_packed,
            layout.max_context,
        )
    if lengths is None:
        return torch.arange(layout.num_rows + 1, dtype=torch.int32, device=device) * most
    if not is_packed:
        raise ValueError("impl='flash' takes packed or full rows; pack them, or use 'triton'")
    return lengths
