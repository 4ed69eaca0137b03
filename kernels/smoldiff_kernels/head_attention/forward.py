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

from smoldiff_kernels.head_attention.configs import LOG2_E
from smoldiff_kernels.head_attention.tiles import (
    flat_first,
    longest_first,
    query_group,
    rows_of,
    sees,
    span,
)

# Shapes: B rows, T template positions, C context tokens, G key/value heads, R query heads of each, E head width.
# M rows of a tile: (position, query head of the group), the head running faster. N keys of a tile. S splits.

_LOG2_E = tl.constexpr(LOG2_E)


@triton.jit
def attend(
    acc,
    top_M,
    total_M,
    q,
    start,
    stop,
    limit,
    k_base,
    k_stride,
    k_rows,
    v_base,
    v_stride,
    v_rows,
    group_ptr,
    own_group_M,
    scale_log2,
    E: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_E: tl.constexpr,
    IS_WHOLE: tl.constexpr,
    HAS_DESCRIPTORS: tl.constexpr,
    HAS_GROUPS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Takes in the tiles `start` to `stop` of the keys of one place, of which there are `limit`.

    Nothing in the loop branches, so that its products overlap: IS_WHOLE says that no tile reaches behind the last key.
    """
    n_N, e_E = tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_E)
    for i in tl.range(start, stop):
        at = i * BLOCK_N
        is_key_N = at + n_N < limit
        if HAS_DESCRIPTORS:
            k = k_rows.load([at, 0])
            v = v_rows.load([at, 0])
        else:
            mask = (is_key_N | IS_WHOLE)[:, None] & (e_E < E)[None, :]
            at64 = at.to(tl.int64)
            k_at = n_N[:, None] * k_stride + e_E[None, :]
            v_at = n_N[:, None] * v_stride + e_E[None, :]
            k = tl.load(k_base + at64 * k_stride + k_at, mask=mask, other=0.0)
            v = tl.load(v_base + at64 * v_stride + v_at, mask=mask, other=0.0)
        scores = tl.dot(q, tl.trans(k), input_precision=PRECISION)
        if HAS_GROUPS:
            if group_ptr is None:
                group_N = tl.where(is_key_N, 0, -1)
            else:
                group_N = tl.load(group_ptr + at + n_N, mask=is_key_N, other=-1)
            scores = tl.where(sees(group_N, own_group_M), scores, float("-inf"))
        elif not IS_WHOLE:
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
    return acc, top_M, total_M


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
    begun_ptr,
    begun_lse_ptr,
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
    IS_CHAINED: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_E: tl.constexpr,
    BLOCK_B: tl.constexpr,
):
    """Grid: tiles of queries, G * splits, B. out: [tokens, A, E]; where the keys are split, float32 [S, tokens, A, E].

    lse: [tokens, A] or [S, tokens, A], to base 2. Without a key to see it is -inf in a split (no share in the merge), inf in
    a whole (weights of zero in the backward pass).

    begun: [B, T, A, E], what other keys gave, and begun_lse: [B, A, T], the natural log-sum-exp of their logits; the tiles
    of keys go on from there. Not where the keys are split.

    BLOCK_B: from B on, where the longest rows begin first, so that no long one is left when the others are done; else 0.
    """
    if IS_CHAINED:
        tl.extra.cuda.gdc_wait()
        tl.extra.cuda.gdc_launch_dependents()
    HAS_GROUPS: tl.constexpr = context_group_ptr is not None or template_group_ptr is not None
    tile, g, split = tl.program_id(0), tl.program_id(1) % G, tl.program_id(1) // G
    b = tl.program_id(2)
    if BLOCK_B:
        b = longest_first(
            b,
            tl.num_programs(2),
            template_lengths_ptr,
            context_lengths_ptr,
            max_template,
            max_context,
            IS_TEMPLATE_PACKED,
            IS_CONTEXT_PACKED,
            BLOCK_B,
        )
    b64 = b.to(tl.int64)
    first_t, T = span(template_lengths_ptr, b, max_template, IS_TEMPLATE_PACKED)
    first_c, C = span(context_lengths_ptr, b, max_context, IS_CONTEXT_PACKED)
    flat_t = flat_first(first_t, b, max_template, IS_TEMPLATE_PACKED)
    flat_c = flat_first(first_c, b, max_context, IS_CONTEXT_PACKED)

    row_M = tile * BLOCK_M + tl.arange(0, BLOCK_M)
    t_M, r_M = row_M // R, row_M % R
    tile_t = tile * BLOCK_M // R
    is_row_M = t_M < T
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
    else:
        query_context_M, query_template_M = None, None

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
    else:
        kc_rows, vc_rows, kt_rows, vt_rows = None, None, None, None
    context_group = None if context_group_ptr is None else context_group_ptr + flat_c
    template_group = None if template_group_ptr is None else template_group_ptr + flat_t

    acc = tl.zeros((BLOCK_M, BLOCK_E), tl.float32)
    top_M = tl.full((BLOCK_M,), float("-inf"), tl.float32)  # largest logit so far, to base 2
    total_M = tl.zeros((BLOCK_M,), tl.float32)  # sum of the weights relative to it
    if begun_ptr is not None:
        begun_row_M = (b64 * max_template + t_M) * (G * R) + g * R + r_M
        begun_at = begun_ptr + begun_row_M[:, None] * E + e_E[None, :]
        acc = tl.load(begun_at, mask=mask, other=0.0).to(tl.float32)
        begun_lse_at = begun_lse_ptr + ((b64 * G + g) * R + r_M) * max_template + t_M
        top_M = tl.load(begun_lse_at, mask=is_row_M, other=float("-inf")) * _LOG2_E
        total_M = tl.where(is_row_M, 1.0, 0.0)
    num_whole = num_context_tiles if HAS_GROUPS else C // BLOCK_N
    acc, top_M, total_M = attend(
        acc, top_M, total_M, q, start, tl.minimum(stop, num_whole), C,
        kc_base, kc_stride_n, kc_rows, vc_base, vc_stride_n, vc_rows,
        context_group, query_context_M, scale_log2,
        E, BLOCK_N, BLOCK_E, not HAS_GROUPS, HAS_DESCRIPTORS, HAS_GROUPS, PRECISION,
    )  # fmt: skip
    if not HAS_GROUPS:
        acc, top_M, total_M = attend(
            acc, top_M, total_M, q, tl.maximum(start, num_whole), tl.minimum(stop, num_context_tiles), C,
            kc_base, kc_stride_n, kc_rows, vc_base, vc_stride_n, vc_rows,
            context_group, query_context_M, scale_log2,
            E, BLOCK_N, BLOCK_E, False, HAS_DESCRIPTORS, HAS_GROUPS, PRECISION,
        )  # fmt: skip
    first_template_tile = tl.maximum(start, num_context_tiles) - num_context_tiles
    acc, top_M, total_M = attend(
        acc, top_M, total_M, q, first_template_tile, stop - num_context_tiles, T,
        kt_base, kt_stride_n, kt_rows, vt_base, vt_stride_n, vt_rows,
        template_group, query_template_M, scale_log2,
        E, BLOCK_N, BLOCK_E, False, HAS_DESCRIPTORS, HAS_GROUPS, PRECISION,
    )  # fmt: skip

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
    BLOCK_E: tl.constexpr,
    IS_CHAINED: tl.constexpr,
):
    """Grid: rows of [tokens, A]. Weighs the results of the splits by their share of the softmax's sum.

    One row a program: its threads hold all splits of a few columns each, and nothing goes through shared memory.
    """
    if IS_CHAINED:
        tl.extra.cuda.gdc_wait()
    row = tl.program_id(0).to(tl.int64)
    s_S = tl.arange(0, BLOCK_S)
    e_E = tl.arange(0, BLOCK_E)
    is_part_S, is_e_E = s_S < num_splits, e_E < E
    part_row_S = s_S.to(tl.int64) * num_rows + row
    lse_S = tl.load(part_lse_ptr + part_row_S, mask=is_part_S, other=float("-inf"))
    mask = is_part_S[:, None] & is_e_E[None, :]
    part = tl.load(part_ptr + part_row_S[:, None] * E + e_E[None, :], mask=mask, other=0.0)
    top = tl.max(lse_S, 0)
    has_seen = top > float("-inf")
    share_S = tl.exp2(lse_S - tl.where(has_seen, top, 0.0))
    total = tl.where(has_seen, tl.sum(share_S, 0), 1.0)
    out_E = tl.sum(part * share_S[:, None], 0) / total
    tl.store(out_ptr + row * E + e_E, out_E.to(out_ptr.dtype.element_ty), mask=is_e_E)
    if lse_ptr is not None:
        tl.store(lse_ptr + row, tl.where(has_seen, top + tl.log2(total), float("inf")))
