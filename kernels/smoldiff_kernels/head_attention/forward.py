"""Forward pass: one program for a tile of queries of one key/value head, and a merge where the keys were split.

Method: online softmax over tiles of keys (FlashAttention, Dao et al., 2022). The query heads of a key/value head are packed
into the rows of one tile, so that its keys are read once for all of them. For few queries the keys are split over programs,
whose results are merged by their log-sum-exp (Flash-Decoding, Dao et al., 2023). Context and template are two places that
tiles are read from: nothing is joined.

Operations: 4 * A * E * sum over rows of T * (C + T). Bytes: q and the output (A * E elements a template position), keys and
values (2 * G * E elements a context token and a template position), each once; with S splits another
8 * S * A * E for a template position, which a Hopper GPU keeps in its L2 cache at the sizes that are split. From some 100
queries of 4 query heads on, the operations take longer than the bytes.
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
    rows_of,
    sees,
    span,
    tile_at,
)

# Shapes: B rows, T template positions, C context tokens, G key/value heads, R query heads of each, E head width.
# M rows of a tile: (position, query head of the group), the head running faster. N keys of a tile. S splits.


@triton.jit(do_not_specialize=["max_template", "max_context", "tiles_per_split", "num_rows"])
def forward_kernel(
    q_ptr,
    kc_ptr,
    vc_ptr,
    kt_ptr,
    vt_ptr,
    out_ptr,
    lse_ptr,
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
    scale_log2,
    max_template,
    max_context,
    tiles_per_split,
    num_rows,
    G: tl.constexpr,
    R: tl.constexpr,
    E: tl.constexpr,
    IS_TEMPLATE_PACKED: tl.constexpr,
    IS_CONTEXT_PACKED: tl.constexpr,
    IS_SPLIT: tl.constexpr,
    HAS_DESCRIPTORS: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_E: tl.constexpr,
):
    """Grid: tiles of queries, G * splits, B. out: [tokens, A, E]; where the keys are split, float32 [S, tokens, A, E].

    lse: [tokens, A] or [S, tokens, A], to base 2. Without a key to see it is -inf in a split (no share in the merge), inf in
    a whole (weights of zero in the backward pass).
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

    # Addresses: an int64 base of the tile, and int32 offsets in it.
    q_base = q_ptr + b64 * q_stride_b + (first_t + tile_t) * q_stride_t + g * R * q_stride_a
    q_at_M = (t_M - tile_t) * q_stride_t + r_M * q_stride_a
    mask = is_row_M[:, None] & is_e_1E
    q = tl.load(q_base + q_at_M[:, None] + e_E[None, :], mask=mask, other=0.0)
    if HAS_GROUPS:
        query_context_M = query_group(template_context_group_ptr, flat_t, t_M, is_row_M)
        query_template_M = query_group(template_group_ptr, flat_t, t_M, is_row_M)

    num_context_tiles = tl.cdiv(C, BLOCK_N)
    num_tiles = num_context_tiles + tl.cdiv(T, BLOCK_N)
    start, stop = 0, num_tiles
    if IS_SPLIT:
        start = tl.minimum(split * tiles_per_split, num_tiles)
        stop = tl.minimum(start + tiles_per_split, num_tiles)
    stop = tl.where(tile_t < T, stop, start)  # no queries here: nothing to read

    kc_base = kc_ptr + b64 * kc_stride_b + first_c * kc_stride_n + g * kc_stride_g
    vc_base = vc_ptr + b64 * vc_stride_b + first_c * vc_stride_n + g * vc_stride_g
    kt_base = kt_ptr + b64 * kt_stride_b + first_t * kt_stride_n + g * kt_stride_g
    vt_base = vt_ptr + b64 * vt_stride_b + first_t * vt_stride_n + g * vt_stride_g
    if HAS_DESCRIPTORS:
        kc_rows = rows_of(kc_base, C, kc_stride_n, E, BLOCK_N, BLOCK_E)
        vc_rows = rows_of(vc_base, C, vc_stride_n, E, BLOCK_N, BLOCK_E)
        kt_rows = rows_of(kt_base, T, kt_stride_n, E, BLOCK_N, BLOCK_E)
        vt_rows = rows_of(vt_base, T, vt_stride_n, E, BLOCK_N, BLOCK_E)

    acc = tl.zeros((BLOCK_M, BLOCK_E), tl.float32)
    top_M = tl.full((BLOCK_M,), float("-inf"), tl.float32)  # largest logit so far, to base 2
    total_M = tl.zeros((BLOCK_M,), tl.float32)  # sum of the weights relative to it
    # One loop over both places, so that the first tiles of the template are on their way during the context's last.
    for i in tl.range(start, stop):
        is_context, at, limit = tile_at(i, num_context_tiles, C, T, BLOCK_N)
        is_key_N = at + n_N < limit
        if HAS_DESCRIPTORS:
            if is_context:
                k_rows, v_rows = kc_rows, vc_rows
            else:
                k_rows, v_rows = kt_rows, vt_rows
            k = k_rows.load([at, 0])
            v = v_rows.load([at, 0])
        else:
            k = load_tile(
                is_context, at, is_key_N, kc_base, kc_stride_n, kt_base, kt_stride_n, E, BLOCK_N, BLOCK_E
            )  # fmt: skip
            v = load_tile(
                is_context, at, is_key_N, vc_base, vc_stride_n, vt_base, vt_stride_n, E, BLOCK_N, BLOCK_E
            )  # fmt: skip
        scores = tl.dot(q, tl.trans(k), input_precision=PRECISION)
        if HAS_GROUPS:
            group_N = key_group(
                context_group_ptr, template_group_ptr, is_context, flat_c, flat_t, at + n_N, limit
            )  # fmt: skip
            seen = sees(group_N, query_context_M, query_template_M, is_context)
            scores = tl.where(seen, scores, float("-inf"))
        elif at + BLOCK_N > limit:
            scores = tl.where(is_key_N[None, :], scores, float("-inf"))
        new_top_M = tl.maximum(top_M, tl.max(scores, 1) * scale_log2)
        base_M = new_top_M
        if HAS_GROUPS:  # a query that has seen nothing yet: -inf - -inf would be NaN
            base_M = tl.where(new_top_M == float("-inf"), 0.0, new_top_M)
        weights = tl.exp2(scores * scale_log2 - base_M[:, None])
        decay_M = tl.exp2(top_M - base_M)
        total_M = total_M * decay_M + tl.sum(weights, 1)
        acc = acc * decay_M[:, None]
        acc = tl.dot(weights.to(v.dtype), v, acc, input_precision=PRECISION)
        top_M = new_top_M

    has_seen_M = (total_M > 0) & is_row_M
    total_M = tl.where(has_seen_M, total_M, 1.0)
    out = tl.where(has_seen_M[:, None], acc / total_M[:, None], 0.0)
    # The padding behind a row's positions is written too.
    is_written_M = is_row_M if IS_TEMPLATE_PACKED else t_M < max_template
    out_row_M = (flat_t + t_M) * (G * R) + g * R + r_M
    if IS_SPLIT:
        out_row_M += split.to(tl.int64) * num_rows
    out_at = out_row_M[:, None] * E + e_E[None, :]
    mask = is_written_M[:, None] & is_e_1E
    tl.store(out_ptr + out_at, out.to(out_ptr.dtype.element_ty), mask=mask)
    if lse_ptr is not None:
        nothing = float("-inf") if IS_SPLIT else float("inf")
        lse_M = tl.where(has_seen_M, top_M + tl.log2(total_M), nothing)
        tl.store(lse_ptr + out_row_M, lse_M, mask=is_written_M)


@triton.jit(do_not_specialize=["num_splits", "num_rows"])
def merge_kernel(
    part_ptr,
    part_lse_ptr,
    out_ptr,
    lse_ptr,
    num_splits,
    num_rows,
    E: tl.constexpr,
    BLOCK_S: tl.constexpr,
    BLOCK_L: tl.constexpr,
    BLOCK_E: tl.constexpr,
):
    """Grid: blocks of rows of [tokens, A]. Weighs the results of the splits by their share of the softmax's sum."""
    row_L = tl.program_id(0).to(tl.int64) * BLOCK_L + tl.arange(0, BLOCK_L)
    s_S = tl.arange(0, BLOCK_S)
    e_E = tl.arange(0, BLOCK_E)
    is_row_L = row_L < num_rows
    part_row_SL = s_S.to(tl.int64)[:, None] * num_rows + row_L[None, :]
    is_part_SL = (s_S < num_splits)[:, None] & is_row_L[None, :]
    lse_SL = tl.load(part_lse_ptr + part_row_SL, mask=is_part_SL, other=float("-inf"))
    top_L = tl.max(lse_SL, 0)
    has_seen_L = top_L > float("-inf")
    share_SL = tl.exp2(lse_SL - tl.where(has_seen_L, top_L, 0.0)[None, :])
    total_L = tl.where(has_seen_L, tl.sum(share_SL, 0), 1.0)
    part_at = part_row_SL[:, :, None] * E + e_E[None, None, :]
    is_e_E = e_E < E
    part = tl.load(
        part_ptr + part_at, mask=is_part_SL[:, :, None] & is_e_E[None, None, :], other=0.0
    )
    out = tl.sum(part * share_SL[:, :, None], 0) / total_L[:, None]
    out_at = row_L[:, None] * E + e_E[None, :]
    mask = is_row_L[:, None] & is_e_E[None, :]
    tl.store(out_ptr + out_at, out.to(out_ptr.dtype.element_ty), mask=mask)
    if lse_ptr is not None:
        lse_L = tl.where(has_seen_L, top_L + tl.log2(total_L), float("inf"))
        tl.store(lse_ptr + row_L, lse_L, mask=is_row_L)
