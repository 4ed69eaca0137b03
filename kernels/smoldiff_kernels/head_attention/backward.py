"""Backward pass: gradients of queries by one program a tile of queries, those of keys and values by one a tile of keys.

The weights are computed again from the saved log-sum-exp (FlashAttention-2, Dao, 2023). Nothing is added atomically: each
element has one writer that adds in a fixed order, so equal inputs give equal gradients, bit for bit.

Operations: with W = A * E * sum over rows of T * (C + T), 6 * W for the queries (three products) and 8 * W for keys and values
(four); 10 * W would be the least, where one pass wrote all gradients.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
# Triton gives parameters their types when it compiles.

from __future__ import annotations

import triton
import triton.language as tl

from smoldiff_kernels.head_attention.tiles import (
    flat_first,
    key_group,
    load_tile,
    query_group,
    sees,
    span,
    tile_at,
)

# Shapes: B rows, T template positions, C context tokens, G key/value heads, R query heads of each, E head width.
# M rows of a tile: (position, query head of the group), the head running faster. N keys of a tile.


@triton.jit(do_not_specialize=["max_template", "max_context", "tiles_per_split", "num_elements"])
def query_gradient_kernel(
    q_ptr,
    kc_ptr,
    vc_ptr,
    kt_ptr,
    vt_ptr,
    out_ptr,
    lse_ptr,
    d_out_ptr,
    dq_ptr,
    delta_ptr,
    template_lengths_ptr,
    context_lengths_ptr,
    context_group_ptr,
    template_context_group_ptr,
    template_group_ptr,
    q_stride_b,
    q_stride_t,
    q_stride_a,
    kc_stride_b,
    kc_stride_n,
    kc_stride_g,
    vc_stride_b,
    vc_stride_n,
    vc_stride_g,
    kt_stride_b,
    kt_stride_n,
    kt_stride_g,
    vt_stride_b,
    vt_stride_n,
    vt_stride_g,
    scale,
    scale_log2,
    max_template,
    max_context,
    tiles_per_split,
    num_elements,
    G: tl.constexpr,
    R: tl.constexpr,
    E: tl.constexpr,
    IS_TEMPLATE_PACKED: tl.constexpr,
    IS_CONTEXT_PACKED: tl.constexpr,
    IS_SPLIT: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_E: tl.constexpr,
):
    """Grid: tiles of queries, G * splits, B. out, d_out, dq: [tokens, A, E]; lse, delta: [tokens, A].

    Where the keys are split, dq is float32 [S, tokens, A, E], to be summed. Writes dq, and delta (the sum of out * d_out of a
    query) for the other kernel.
    """
    HAS_GROUPS: tl.constexpr = context_group_ptr is not None or template_group_ptr is not None
    tile, g, split = tl.program_id(0), tl.program_id(1) % G, tl.program_id(1) // G
    b = tl.program_id(2)
    b64 = b.to(tl.int64)
    first_t, T = span(template_lengths_ptr, b, max_template, IS_TEMPLATE_PACKED)
    first_c, C = span(context_lengths_ptr, b, max_context, IS_CONTEXT_PACKED)
    flat_t = flat_first(first_t, b, max_template, IS_TEMPLATE_PACKED)
    flat_c = flat_first(first_c, b, max_context, IS_CONTEXT_PACKED)

    row_M = tile * BLOCK_M + tl.arange(0, BLOCK_M)
    t_M, r_M = row_M // R, row_M % R
    tile_t = tile * BLOCK_M // R
    is_row_M = t_M < T
    n_N = tl.arange(0, BLOCK_N)
    e_E = tl.arange(0, BLOCK_E)
    is_e_1E = (e_E < E)[None, :]

    q_base = q_ptr + b64 * q_stride_b + (first_t + tile_t) * q_stride_t + g * R * q_stride_a
    q_at_M = (t_M - tile_t) * q_stride_t + r_M * q_stride_a
    mask = is_row_M[:, None] & is_e_1E
    q = tl.load(q_base + q_at_M[:, None] + e_E[None, :], mask=mask, other=0.0)
    flat_row_M = (flat_t + t_M) * (G * R) + g * R + r_M
    flat_at = flat_row_M[:, None] * E + e_E[None, :]
    d_out = tl.load(d_out_ptr + flat_at, mask=mask, other=0.0)
    out = tl.load(out_ptr + flat_at, mask=mask, other=0.0)
    delta_M = tl.sum(d_out.to(tl.float32) * out.to(tl.float32), 1)
    if split == 0:
        tl.store(delta_ptr + flat_row_M, delta_M, mask=is_row_M)
    lse_M = tl.load(lse_ptr + flat_row_M, mask=is_row_M, other=float("inf"))
    if HAS_GROUPS:
        query_context_M = query_group(template_context_group_ptr, flat_t, t_M, is_row_M)
        query_template_M = query_group(template_group_ptr, flat_t, t_M, is_row_M)

    kc_base = kc_ptr + b64 * kc_stride_b + first_c * kc_stride_n + g * kc_stride_g
    vc_base = vc_ptr + b64 * vc_stride_b + first_c * vc_stride_n + g * vc_stride_g
    kt_base = kt_ptr + b64 * kt_stride_b + first_t * kt_stride_n + g * kt_stride_g
    vt_base = vt_ptr + b64 * vt_stride_b + first_t * vt_stride_n + g * vt_stride_g
    num_context_tiles = tl.cdiv(C, BLOCK_N)
    num_tiles = num_context_tiles + tl.cdiv(T, BLOCK_N)
    start, stop = 0, num_tiles
    if IS_SPLIT:
        start = tl.minimum(split * tiles_per_split, num_tiles)
        stop = tl.minimum(start + tiles_per_split, num_tiles)
    stop = tl.where(tile_t < T, stop, start)  # no queries here: nothing to read
    dq = tl.zeros((BLOCK_M, BLOCK_E), tl.float32)
    for i in tl.range(start, stop):
        is_context, at, limit = tile_at(i, num_context_tiles, C, T, BLOCK_N)
        is_key_N = at + n_N < limit
        k = load_tile(
            is_context, at, is_key_N, kc_base, kc_stride_n, kt_base, kt_stride_n, E, BLOCK_N, BLOCK_E
        )  # fmt: skip
        v = load_tile(
            is_context, at, is_key_N, vc_base, vc_stride_n, vt_base, vt_stride_n, E, BLOCK_N, BLOCK_E
        )  # fmt: skip
        scores = tl.dot(q, tl.trans(k), input_precision=PRECISION)
        weights = tl.exp2(scores * scale_log2 - lse_M[:, None])
        if HAS_GROUPS:
            group_N = key_group(
                context_group_ptr, template_group_ptr, is_context, flat_c, flat_t, at + n_N, limit
            )  # fmt: skip
            seen = sees(group_N, tl.where(is_context, query_context_M, query_template_M))
            weights = tl.where(seen, weights, 0.0)
        else:
            weights = tl.where(is_key_N[None, :], weights, 0.0)
        d_weights = tl.dot(d_out, tl.trans(v), input_precision=PRECISION)
        d_scores = weights * (d_weights - delta_M[:, None])
        dq = tl.dot(d_scores.to(k.dtype), k, dq, input_precision=PRECISION)

    is_written_M = is_row_M if IS_TEMPLATE_PACKED else t_M < max_template
    mask = is_written_M[:, None] & is_e_1E
    dq = tl.where(is_row_M[:, None], dq * scale, 0.0)
    if IS_SPLIT:
        dq_ptr += split.to(tl.int64) * num_elements
    tl.store(dq_ptr + flat_at, dq.to(dq_ptr.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["max_template", "max_context", "max_context_tiles"])
def key_gradient_kernel(
    q_ptr,
    kc_ptr,
    vc_ptr,
    kt_ptr,
    vt_ptr,
    lse_ptr,
    d_out_ptr,
    delta_ptr,
    dkc_ptr,
    dvc_ptr,
    dkt_ptr,
    dvt_ptr,
    template_lengths_ptr,
    context_lengths_ptr,
    context_group_ptr,
    template_context_group_ptr,
    template_group_ptr,
    q_stride_b,
    q_stride_t,
    q_stride_a,
    kc_stride_b,
    kc_stride_n,
    kc_stride_g,
    vc_stride_b,
    vc_stride_n,
    vc_stride_g,
    kt_stride_b,
    kt_stride_n,
    kt_stride_g,
    vt_stride_b,
    vt_stride_n,
    vt_stride_g,
    scale,
    scale_log2,
    max_template,
    max_context,
    max_context_tiles,
    G: tl.constexpr,
    R: tl.constexpr,
    E: tl.constexpr,
    IS_TEMPLATE_PACKED: tl.constexpr,
    IS_CONTEXT_PACKED: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_E: tl.constexpr,
):
    """Grid: tiles of context keys, then of template keys; G, B. Gradients of keys and values: [tokens, G, E]."""
    HAS_GROUPS: tl.constexpr = context_group_ptr is not None or template_group_ptr is not None
    tile, g, b = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    b64 = b.to(tl.int64)
    first_t, T = span(template_lengths_ptr, b, max_template, IS_TEMPLATE_PACKED)
    first_c, C = span(context_lengths_ptr, b, max_context, IS_CONTEXT_PACKED)
    flat_t = flat_first(first_t, b, max_template, IS_TEMPLATE_PACKED)
    flat_c = flat_first(first_c, b, max_context, IS_CONTEXT_PACKED)

    is_context, at, limit = tile_at(tile, max_context_tiles, C, T, BLOCK_N)
    n_N = at + tl.arange(0, BLOCK_N)
    is_key_N = n_N < limit
    e_E = tl.arange(0, BLOCK_E)
    is_e_1E = (e_E < E)[None, :]
    kc_base = kc_ptr + b64 * kc_stride_b + first_c * kc_stride_n + g * kc_stride_g
    vc_base = vc_ptr + b64 * vc_stride_b + first_c * vc_stride_n + g * vc_stride_g
    kt_base = kt_ptr + b64 * kt_stride_b + first_t * kt_stride_n + g * kt_stride_g
    vt_base = vt_ptr + b64 * vt_stride_b + first_t * vt_stride_n + g * vt_stride_g
    k = load_tile(
        is_context, at, is_key_N, kc_base, kc_stride_n, kt_base, kt_stride_n, E, BLOCK_N, BLOCK_E
    )  # fmt: skip
    v = load_tile(
        is_context, at, is_key_N, vc_base, vc_stride_n, vt_base, vt_stride_n, E, BLOCK_N, BLOCK_E
    )  # fmt: skip
    if HAS_GROUPS:
        group_N = key_group(
            context_group_ptr, template_group_ptr, is_context, flat_c, flat_t, n_N, limit
        )  # fmt: skip

    num_rows = tl.where(at < limit, T * R, 0)
    q_base = q_ptr + b64 * q_stride_b + first_t * q_stride_t + g * R * q_stride_a
    dk = tl.zeros((BLOCK_N, BLOCK_E), tl.float32)
    dv = tl.zeros((BLOCK_N, BLOCK_E), tl.float32)
    for start in tl.range(0, num_rows, BLOCK_M):
        row_M = start + tl.arange(0, BLOCK_M)
        t_M, r_M = row_M // R, row_M % R
        tile_t = start // R
        is_row_M = row_M < num_rows
        q_at_M = (t_M - tile_t) * q_stride_t + r_M * q_stride_a
        mask = is_row_M[:, None] & is_e_1E
        q_at = q_base + tile_t.to(tl.int64) * q_stride_t
        q = tl.load(q_at + q_at_M[:, None] + e_E[None, :], mask=mask, other=0.0)
        flat_row_M = (flat_t + t_M) * (G * R) + g * R + r_M
        d_out_at = d_out_ptr + flat_row_M[:, None] * E + e_E[None, :]
        d_out = tl.load(d_out_at, mask=mask, other=0.0)
        lse_M = tl.load(lse_ptr + flat_row_M, mask=is_row_M, other=float("inf"))
        delta_M = tl.load(delta_ptr + flat_row_M, mask=is_row_M, other=0.0)
        scores = tl.dot(k, tl.trans(q), input_precision=PRECISION)
        weights = tl.exp2(scores * scale_log2 - lse_M[None, :])
        if HAS_GROUPS:
            query_context_M = query_group(template_context_group_ptr, flat_t, t_M, is_row_M)
            query_template_M = query_group(template_group_ptr, flat_t, t_M, is_row_M)
            seen = sees(group_N, tl.where(is_context, query_context_M, query_template_M))
            weights = tl.where(tl.trans(seen), weights, 0.0)
        dv = tl.dot(weights.to(d_out.dtype), d_out, dv, input_precision=PRECISION)
        d_weights = tl.dot(v, tl.trans(d_out), input_precision=PRECISION)
        d_scores = weights * (d_weights - delta_M[None, :])
        dk = tl.dot(d_scores.to(q.dtype), q, dk, input_precision=PRECISION)

    # Rows behind the keys' end hold nothing of use; where they are padding of the result, zeros are written.
    context_end = C if IS_CONTEXT_PACKED else max_context
    template_end = T if IS_TEMPLATE_PACKED else max_template
    is_written_N = n_N < tl.where(is_context, context_end, template_end)
    out_N = (tl.where(is_context, flat_c, flat_t) + n_N) * G + g
    out_at = out_N[:, None] * E + e_E[None, :]
    mask = is_written_N[:, None] & is_e_1E
    dk = tl.where(is_key_N[:, None], dk * scale, 0.0).to(dkc_ptr.dtype.element_ty)
    dv = tl.where(is_key_N[:, None], dv, 0.0).to(dvc_ptr.dtype.element_ty)
    tl.store(tl.where(is_context, dkc_ptr, dkt_ptr) + out_at, dk, mask=mask)
    tl.store(tl.where(is_context, dvc_ptr, dvt_ptr) + out_at, dv, mask=mask)
