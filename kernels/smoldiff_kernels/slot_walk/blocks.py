"""The first launch of a step in Triton: each program has some tokens, of the context or of the vocabulary, for all slots."""

# mypy: allow-untyped-defs, allow-incomplete-defs
# Triton gives parameters their types when it compiles.

from __future__ import annotations

import triton
import triton.language as tl

# Shapes: N slots, V tokens of a block, R rank, C width of the pointer, T blocks of the vocabulary, U of the context.

NO_TOKEN = tl.constexpr(0x7FFFFFFF)
"""Greater than every token id, so that it loses every tie."""


@triton.jit(
    do_not_specialize=[
        "place",
        "num_rows",
        "num_slots",
        "num_classes",
        "num_blocks",
        "num_context_blocks",
    ]
)
def blocks(
    logits_ptr,
    row_ptr,
    inner_ptr,
    table_ptr,
    allowed_ptr,
    class_ptr,
    automaton_ptr,
    best_ptr,
    token_ptr,
    top_ptr,
    total_ptr,
    ids_ptr,
    sorted_ptr,
    order_ptr,
    key_ptr,
    key_stride,
    num_seen_ptr,
    plain_rest_ptr,
    rest_stride,
    weight_ptr,
    history_ptr,
    bonus_ptr,
    score_out_ptr,
    logit_out_ptr,
    score_top_ptr,
    score_total_ptr,
    place,
    num_rows,
    num_slots,
    num_vocab,
    num_classes,
    num_blocks,
    num_tokens,
    num_context_blocks,
    scale,
    RANK: tl.constexpr,
    NUM_READERS: tl.constexpr,
    MAX_MATCH: tl.constexpr,
    BLOCK_TOKENS: tl.constexpr,
    BLOCK_CONTEXT: tl.constexpr,
    BLOCK_SLOTS: tl.constexpr,
    BLOCK_RANK: tl.constexpr,
    IS_TURNING: tl.constexpr,
    IS_CHAINED: tl.constexpr,
):
    """Of the vocabulary, [N, T]: the best allowed logit and its token, the largest logit, the sum of exp(logit - largest).

    Of the context in the order of token ids, [N, K]: how much is pointed at each token, as logits, and its logit in the
    vocabulary, -inf where it is not allowed; [N, U]: the largest pointer and the sum of exp(pointer - largest).
    """
    program = tl.program_id(0)
    n_N = tl.arange(0, BLOCK_SLOTS)
    is_slot_N = n_N < num_slots
    row_N = tl.load(row_ptr + n_N, mask=is_slot_N, other=0)
    row_N = tl.minimum(row_N + place, num_rows - 1)
    class_at_N = class_ptr + tl.load(automaton_ptr + n_N, mask=is_slot_N, other=0) * num_vocab
    logits_at_N = logits_ptr + row_N * num_vocab
    allowed_at_N = allowed_ptr + n_N.to(tl.int64) * num_classes
    if program < num_context_blocks:
        k_K = program * BLOCK_CONTEXT + tl.arange(0, BLOCK_CONTEXT)
        is_token_K = k_K < num_tokens
        token_K = tl.load(sorted_ptr + k_K, mask=is_token_K, other=0)
        order_K = tl.load(order_ptr + k_K, mask=is_token_K, other=0)
        logits_KN, is_allowed_KN = _logits(
            token_K,
            is_token_K,
            n_N,
            is_slot_N,
            logits_at_N,
            class_at_N,
            allowed_at_N,
            table_ptr,
            inner_ptr,
            RANK,
            BLOCK_CONTEXT,
            BLOCK_SLOTS,
            BLOCK_RANK,
            IS_CHAINED,
        )
        score_KN = _pointers(
            order_K,
            is_token_K,
            n_N,
            is_slot_N,
            ids_ptr,
            key_ptr,
            key_stride,
            plain_rest_ptr + row_N * rest_stride,
            weight_ptr,
            inner_ptr,
            history_ptr,
            bonus_ptr,
            scale,
            RANK,
            NUM_READERS,
            MAX_MATCH,
            BLOCK_CONTEXT,
            BLOCK_SLOTS,
            min(BLOCK_RANK, 64),  # loaded beside much else
        )
        is_seen_K = is_token_K & (order_K < tl.load(num_seen_ptr))
        score_KN = tl.where(is_seen_K[:, None], score_KN, float("-inf"))
        is_in_KN = is_token_K[:, None] & is_slot_N[None, :]
        at_KN = n_N.to(tl.int64)[None, :] * num_tokens + k_K[:, None]
        tl.store(score_out_ptr + at_KN, score_KN, mask=is_in_KN)
        logits_KN = tl.where(is_allowed_KN, logits_KN, float("-inf"))
        tl.store(logit_out_ptr + at_KN, logits_KN, mask=is_in_KN)
        top_N, total_N = _log_sum(score_KN)
        at_N = n_N.to(tl.int64) * num_context_blocks + program
        tl.store(score_top_ptr + at_N, top_N, mask=is_slot_N)
        tl.store(score_total_ptr + at_N, total_N, mask=is_slot_N)
    else:
        block = program - num_context_blocks
        if IS_TURNING:
            block = tl.where(place % 2 == 0, block, num_blocks - 1 - block)
        token_V = block * BLOCK_TOKENS + tl.arange(0, BLOCK_TOKENS)
        logits_VN, is_allowed_VN = _logits(
            token_V,
            token_V < num_vocab,
            n_N,
            is_slot_N,
            logits_at_N,
            class_at_N,
            allowed_at_N,
            table_ptr,
            inner_ptr,
            RANK,
            BLOCK_TOKENS,
            BLOCK_SLOTS,
            BLOCK_RANK,
            IS_CHAINED,
        )
        top_N, total_N = _log_sum(logits_VN)
        allowed_VN = tl.where(is_allowed_VN, logits_VN, float("-inf"))
        best_N = tl.max(allowed_VN, 0)
        is_best_VN = is_allowed_VN & (allowed_VN == best_N[None, :])
        best_token_N = tl.min(tl.where(is_best_VN, token_V[:, None], NO_TOKEN), 0)
        at_N = n_N.to(tl.int64) * num_blocks + block
        tl.store(best_ptr + at_N, best_N, mask=is_slot_N)
        tl.store(token_ptr + at_N, best_token_N, mask=is_slot_N)
        tl.store(top_ptr + at_N, top_N, mask=is_slot_N)
        tl.store(total_ptr + at_N, total_N, mask=is_slot_N)


@triton.jit
def _logits(
    token_V,
    is_token_V,
    n_N,
    is_slot_N,
    logits_at_N,
    class_at_N,
    allowed_at_N,
    table_ptr,
    inner_ptr,
    RANK: tl.constexpr,
    BLOCK_V: tl.constexpr,
    BLOCK_SLOTS: tl.constexpr,
    BLOCK_RANK: tl.constexpr,
    IS_CHAINED: tl.constexpr,
):
    """[V, N]: the logits of some tokens, and whether they may stand there."""
    is_in_VN = is_token_V[:, None] & is_slot_N[None, :]
    # First what the step before has no say in: where launches are chained, it is read while that still runs.
    logits_at_VN = logits_at_N[None, :] + token_V[:, None]
    plain_VN = tl.load(logits_at_VN, mask=is_in_VN, other=float("-inf")).to(tl.float32)
    class_at_VN = class_at_N[None, :] + token_V[:, None]
    class_VN = tl.load(class_at_VN, mask=is_in_VN, other=0).to(tl.int32)
    table_at_V = table_ptr + token_V.to(tl.int64) * RANK
    r_R = tl.arange(0, BLOCK_RANK)
    is_in_VR = is_token_V[:, None] & (r_R < RANK)[None, :]
    table_VR = tl.load(table_at_V[:, None] + r_R[None, :], mask=is_in_VR, other=0.0)
    if IS_CHAINED:
        tl.extra.cuda.gdc_wait()
        tl.extra.cuda.gdc_launch_dependents()
    is_allowed_VN = tl.load(allowed_at_N[None, :] + class_VN, mask=is_in_VN, other=0) != 0
    inner_at_N = inner_ptr + n_N * RANK
    is_in_NR = is_slot_N[:, None] & (r_R < RANK)[None, :]
    inner_NR = tl.load(inner_at_N[:, None] + r_R[None, :], mask=is_in_NR, other=0.0)
    low_VN = tl.dot(table_VR, inner_NR.T, input_precision="ieee")
    for start in range(BLOCK_RANK, RANK, BLOCK_RANK):
        r_R = start + tl.arange(0, BLOCK_RANK)
        is_r = (r_R < RANK)[None, :]
        table_at_VR = table_at_V[:, None] + r_R[None, :]
        table_VR = tl.load(table_at_VR, mask=is_token_V[:, None] & is_r, other=0.0)
        inner_at_NR = inner_at_N[:, None] + r_R[None, :]
        inner_NR = tl.load(inner_at_NR, mask=is_slot_N[:, None] & is_r, other=0.0)
        low_VN = tl.dot(table_VR, inner_NR.T, low_VN, input_precision="ieee")
    return plain_VN + low_VN, is_allowed_VN


@triton.jit
def _pointers(
    order_K,
    is_token_K,
    n_N,
    is_slot_N,
    ids_ptr,
    key_ptr,
    key_stride,
    plain_at_N,
    weight_ptr,
    inner_ptr,
    history_ptr,
    bonus_ptr,
    scale,
    RANK: tl.constexpr,
    NUM_READERS: tl.constexpr,
    MAX_MATCH: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_SLOTS: tl.constexpr,
    BLOCK_RANK: tl.constexpr,
):
    """[K, N]: how much is pointed at some tokens of the context."""
    WIDTH: tl.constexpr = NUM_READERS - 3
    score_KN = tl.zeros((BLOCK_K, BLOCK_SLOTS), tl.float32)
    for start in range(0, WIDTH, BLOCK_RANK):
        c_C = start + tl.arange(0, BLOCK_RANK)
        is_c = (c_C < WIDTH)[None, :]
        key_at = key_ptr + order_K[:, None] * key_stride + c_C[None, :]
        key_KC = tl.load(key_at, mask=is_token_K[:, None] & is_c, other=0.0)
        is_in_NC = is_slot_N[:, None] & is_c
        query_NC = tl.load(plain_at_N[:, None] + c_C[None, :], mask=is_in_NC, other=0.0)
        query_NC = query_NC.to(tl.float32)
        for first in range(0, RANK, BLOCK_RANK):
            r_R = first + tl.arange(0, BLOCK_RANK)
            is_r = (r_R < RANK)[None, :]
            weight_at = weight_ptr + c_C[:, None] * RANK + r_R[None, :]
            weight_CR = tl.load(weight_at, mask=(c_C < WIDTH)[:, None] & is_r, other=0.0)
            inner_at = inner_ptr + n_N[:, None] * RANK + r_R[None, :]
            inner_NR = tl.load(inner_at, mask=is_slot_N[:, None] & is_r, other=0.0)
            inner_NR = inner_NR.to(weight_CR.dtype)
            query_NC = tl.dot(inner_NR, weight_CR.T, query_NC, input_precision="ieee")
        # Slots first: as a product of [C, R] by [R, N], whose result is an operand of the next one on the tensor cores of a
        # whole warp group, it came out wrong (Triton 3.6, Hopper).
        query_CN = query_NC.to(key_KC.dtype).T
        score_KN = tl.dot(key_KC, query_CN, score_KN, input_precision="ieee")
    score_KN *= scale
    is_same_KN = is_token_K[:, None] & is_slot_N[None, :]
    for m in tl.static_range(MAX_MATCH):
        at_K = order_K - (m + 1)
        before_K = tl.load(ids_ptr + at_K, mask=is_token_K & (at_K >= 0), other=-2)
        last_N = tl.load(history_ptr + n_N * MAX_MATCH + m, mask=is_slot_N, other=-1)
        is_same_KN = is_same_KN & (before_K[:, None] == last_N[None, :])
        bonus = tl.load(bonus_ptr + m).to(tl.float32)
        score_KN += tl.where(is_same_KN, bonus, 0.0)
    return score_KN


@triton.jit
def _log_sum(x_VN):
    """[N]: the largest, and the sum of exp(x - largest)."""
    top_N = tl.max(x_VN, 0)
    return top_N, tl.sum(tl.exp(x_VN - tl.where(top_N == float("-inf"), 0.0, top_N)[None, :]), 0)
