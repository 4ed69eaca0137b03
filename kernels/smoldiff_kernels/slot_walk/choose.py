"""The second launch of a step in Triton: each slot's token, and what the next step needs. One program a slot."""

# mypy: allow-untyped-defs, allow-incomplete-defs
# Triton gives parameters their types when it compiles.

from __future__ import annotations

import triton
import triton.language as tl

from smoldiff_kernels.slot_walk.blocks import NO_TOKEN

# Shapes: T blocks of the vocabulary, U of the context, K tokens of the context, D edges, R rank,
# C classes.


@triton.jit(do_not_specialize=["num_rows", "num_classes"])
def start(
    automaton_ptr,
    state_ptr,
    row_ptr,
    left_ptr,
    history_ptr,
    ended_ptr,
    first_state_ptr,
    first_history_ptr,
    inner_ptr,
    gates_ptr,
    allowed_ptr,
    plain_state_ptr,
    plain_rest_ptr,
    state_stride,
    rest_stride,
    before_ptr,
    weight_ptr,
    states_ptr,
    edges_ptr,
    num_rows,
    num_vocab,
    num_classes,
    RANK: tl.constexpr,
    NUM_READERS: tl.constexpr,
    MAX_MATCH: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    n = tl.program_id(0).to(tl.int64)
    state = tl.load(first_state_ptr + n)
    tl.store(state_ptr + n, state)
    tl.store(ended_ptr + n, 0)
    for m in tl.static_range(MAX_MATCH):
        at = n * MAX_MATCH + m
        tl.store(history_ptr + at, tl.load(first_history_ptr + at))
    _make_ready(
        n,
        tl.load(first_history_ptr + n * MAX_MATCH),
        tl.load(row_ptr + n),
        tl.load(left_ptr + n),
        tl.load(states_ptr + state * 3),
        tl.load(states_ptr + state * 3 + 1),
        inner_ptr,
        gates_ptr,
        allowed_ptr,
        plain_state_ptr,
        plain_rest_ptr,
        state_stride,
        rest_stride,
        before_ptr,
        weight_ptr,
        edges_ptr,
        num_rows,
        num_vocab,
        num_classes,
        RANK,
        NUM_READERS,
        BLOCK_R,
        BLOCK_D,
        BLOCK_C,
    )


@triton.jit(
    do_not_specialize=[
        "place",
        "num_slots",
        "num_blocks",
        "num_context_blocks",
        "num_rows",
        "num_classes",
    ]
)
def choose(
    automaton_ptr,
    state_ptr,
    row_ptr,
    left_ptr,
    history_ptr,
    ended_ptr,
    best_ptr,
    token_ptr,
    top_ptr,
    total_ptr,
    sorted_ptr,
    score_ptr,
    logit_ptr,
    score_top_ptr,
    score_total_ptr,
    class_ptr,
    token_out_ptr,
    chance_out_ptr,
    place,
    num_slots,
    num_blocks,
    num_tokens,
    num_context_blocks,
    inner_ptr,
    gates_ptr,
    allowed_ptr,
    plain_state_ptr,
    plain_rest_ptr,
    state_stride,
    rest_stride,
    before_ptr,
    weight_ptr,
    states_ptr,
    edges_ptr,
    num_rows,
    num_vocab,
    num_classes,
    RANK: tl.constexpr,
    NUM_READERS: tl.constexpr,
    MAX_MATCH: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_M: tl.constexpr,
    NO_TEXT: tl.constexpr,
    LEAST_P: tl.constexpr,
    HAS_CONFIDENCE: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_U: tl.constexpr,
    BLOCK_K: tl.constexpr,
    IS_CHAINED: tl.constexpr,
):
    if IS_CHAINED:
        tl.extra.cuda.gdc_launch_dependents()
    n = tl.program_id(0).to(tl.int64)
    # What the step before left can be read while the blocks still run: they began behind it. Not from the L1 cache, which
    # may still have what stood there two steps before.
    row, left = tl.load(row_ptr + n) + place, tl.load(left_ptr + n) - place
    has_ended = tl.load(ended_ptr + n, cache_modifier=".cg") != 0
    state, automaton = tl.load(state_ptr + n, cache_modifier=".cg"), tl.load(automaton_ptr + n)
    first_edge, num_edges = tl.load(states_ptr + state * 3), tl.load(states_ptr + state * 3 + 1)
    accepts = tl.load(states_ptr + state * 3 + 2) != 0
    copy = tl.sigmoid(tl.load(gates_ptr + n * 3, cache_modifier=".cg"))
    sure = tl.load(gates_ptr + n * 3 + 1, cache_modifier=".cg")
    null = tl.load(gates_ptr + n * 3 + 2, cache_modifier=".cg")
    if IS_CHAINED:
        tl.extra.cuda.gdc_wait()

    at = n * num_blocks
    best, token, lse = _merged(
        best_ptr + at, token_ptr + at, top_ptr + at, total_ptr + at, null, num_blocks, BLOCK_T
    )
    p_plain = tl.exp(best - lse) * (1 - copy)
    p_null = tl.exp(null - lse) * (1 - copy)
    at = n * num_context_blocks
    p_copied, copied = _best_copied(
        sorted_ptr,
        score_ptr + n * num_tokens,
        logit_ptr + n * num_tokens,
        score_top_ptr + at,
        score_total_ptr + at,
        lse,
        copy,
        num_tokens,
        num_context_blocks,
        BLOCK_U,
        BLOCK_K,
    )
    token = tl.where(p_copied > p_plain, copied, token.to(tl.int64))
    p_token = tl.maximum(tl.maximum(p_copied, p_plain), LEAST_P)
    is_end = accepts & (tl.maximum(p_null, LEAST_P) >= p_token)
    chance = tl.sigmoid(sure) if HAS_CONFIDENCE else tl.where(is_end, p_null, p_token)

    # Step on. 0 is the class of no edge.
    own_class = tl.load(class_ptr + automaton * num_vocab + token, mask=token >= 0, other=0)
    state = _behind(edges_ptr, first_edge, num_edges, own_class.to(tl.int64), BLOCK_D)
    next_edge, num_next = tl.load(states_ptr + state * 3), tl.load(states_ptr + state * 3 + 1)
    has_ended = has_ended | (is_end & (left > 0))
    is_text = (left > 0) & (has_ended == 0)
    is_stuck = is_text & (left == 1) & (num_next == 0)  # full, and nothing may follow
    tl.store(token_out_ptr + place.to(tl.int64) * num_slots + n, tl.where(is_text, token, NO_TEXT))
    tl.store(chance_out_ptr + place.to(tl.int64) * num_slots + n, chance)
    tl.store(ended_ptr + n, (has_ended | is_stuck).to(tl.int32))
    tl.store(state_ptr + n, state)
    m_M = tl.arange(0, BLOCK_M)
    at_M = history_ptr + n * MAX_MATCH + m_M
    older_M = tl.load(at_M - 1, mask=(m_M > 0) & (m_M < MAX_MATCH), other=0)
    tl.debug_barrier()  # all have read
    tl.store(at_M, tl.where(m_M == 0, token, older_M), mask=m_M < MAX_MATCH)
    _make_ready(
        n,
        token,
        row + 1,
        left - 1,
        next_edge,
        num_next,
        inner_ptr,
        gates_ptr,
        allowed_ptr,
        plain_state_ptr,
        plain_rest_ptr,
        state_stride,
        rest_stride,
        before_ptr,
        weight_ptr,
        edges_ptr,
        num_rows,
        num_vocab,
        num_classes,
        RANK,
        NUM_READERS,
        BLOCK_R,
        BLOCK_D,
        BLOCK_C,
    )


@triton.jit
def _merged(best_ptr, token_ptr, top_ptr, total_ptr, null, num_blocks, BLOCK_T: tl.constexpr):
    """Of all blocks of the vocabulary: the best logit, its token, -1 if none is allowed, and the log-sum-exp with NULL's."""
    t_T = tl.arange(0, BLOCK_T)
    best_T = tl.full((BLOCK_T,), float("-inf"), tl.float32)
    token_T = tl.full((BLOCK_T,), NO_TOKEN, tl.int32)
    top_T = tl.full((BLOCK_T,), float("-inf"), tl.float32)
    total_T = tl.zeros((BLOCK_T,), tl.float32)
    for first in range(0, num_blocks, BLOCK_T):
        at_T = first + t_T
        is_in_T = at_T < num_blocks
        found_T = tl.load(best_ptr + at_T, mask=is_in_T, other=float("-inf"))
        found_token_T = tl.load(token_ptr + at_T, mask=is_in_T, other=NO_TOKEN)
        found_top_T = tl.load(top_ptr + at_T, mask=is_in_T, other=float("-inf"))
        found_total_T = tl.load(total_ptr + at_T, mask=is_in_T, other=0.0)
        best_T, token_T = _better(best_T, token_T, found_T, found_token_T)
        top_T, total_T = _joined_totals(top_T, total_T, found_top_T, found_total_T)
    top, total = tl.reduce((top_T, total_T), 0, _joined_totals)
    top, total = _joined_totals(top, total, null, 1.0)
    best, token = tl.reduce((best_T, token_T), 0, _better)
    return best, tl.where(best == float("-inf"), -1, token), top + tl.log(total)


@triton.jit
def _better(a_score, a_token, b_score, b_token):
    """The higher score and its token; of equal scores the lower token."""
    is_b = (b_score > a_score) | ((b_score == a_score) & (b_token < a_token))
    return tl.where(is_b, b_score, a_score), tl.where(is_b, b_token, a_token)


@triton.jit
def _joined_totals(a_top, a_total, b_top, b_total):
    """Of two sums of exp(x - top), the one of all."""
    top = tl.maximum(a_top, b_top)
    finite = tl.where(top == float("-inf"), 0.0, top)
    return top, a_total * tl.exp(a_top - finite) + b_total * tl.exp(b_top - finite)


@triton.jit
def _added(a_0, a_1, a_2, b_0, b_1, b_2):
    return a_0 + b_0, a_1 + b_1, a_2 + b_2


@triton.jit
def _best_copied(
    sorted_ptr,
    score_ptr,
    logit_ptr,
    score_top_ptr,
    score_total_ptr,
    lse,
    copy,
    num_tokens,
    num_context_blocks,
    BLOCK_U: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """The likeliest allowed token of the context, which is in the order of ids; 0 and -1 if none is likely at all."""
    u_U = tl.arange(0, BLOCK_U)
    is_in_U = u_U < num_context_blocks
    top_U = tl.load(score_top_ptr + u_U, mask=is_in_U, other=float("-inf"))
    total_U = tl.load(score_total_ptr + u_U, mask=is_in_U, other=0.0)
    top, total = tl.reduce((top_U, total_U), 0, _joined_totals)
    share = copy / total
    best = tl.full((), 0.0, tl.float32)
    token = tl.full((), NO_TOKEN, tl.int64)
    begun = tl.full((), 0.0, tl.float32)  # what is pointed at the copies of a tile's last token
    k_K = tl.arange(0, BLOCK_K)
    for first in range(0, num_tokens, BLOCK_K):
        at_K = first + k_K
        is_in_K = at_K < num_tokens
        token_K = tl.load(sorted_ptr + at_K, mask=is_in_K, other=-1)
        last_K = tl.load(sorted_ptr + at_K - 1, mask=is_in_K & (at_K > 0), other=-1)
        next_K = tl.load(sorted_ptr + at_K + 1, mask=at_K + 1 < num_tokens, other=-1)
        score_K = tl.load(score_ptr + at_K, mask=is_in_K, other=float("-inf"))
        logit_K = tl.load(logit_ptr + at_K, mask=is_in_K, other=float("-inf"))
        is_first_K = (token_K != last_K).to(tl.int32)
        sum_K, has_first_K = tl.associative_scan(
            (tl.exp(score_K - top), is_first_K), 0, _joined_sums
        )
        sum_K += tl.where(has_first_K == 0, begun, 0.0)
        if num_tokens > BLOCK_K:
            begun = tl.sum(tl.where(k_K == BLOCK_K - 1, sum_K, 0.0), 0)
        # All copies are counted at the last one.
        is_way_K = is_in_K & (token_K != next_K) & (logit_K > float("-inf"))
        p_K = tl.exp(logit_K - lse) * (1 - copy) + sum_K * share
        way_K = tl.where(is_way_K, token_K, NO_TOKEN)
        p, way = tl.reduce((tl.where(is_way_K, p_K, 0.0), way_K), 0, _better)
        best, token = _better(best, token, p, way)
    return best, tl.where(token == NO_TOKEN, -1, token)


@triton.jit
def _joined_sums(a_sum, a_first, b_sum, b_first):
    return tl.where(b_first != 0, b_sum, a_sum + b_sum), a_first | b_first


@triton.jit
def _behind(edges_ptr, first_edge, num_edges, own_class, BLOCK_D: tl.constexpr):
    """The state behind the edge of a class; 0 if there is none."""
    state = tl.full((), 0, tl.int64)
    for first in range(0, num_edges, BLOCK_D):
        d_D = first + tl.arange(0, BLOCK_D)
        is_edge_D = d_D < num_edges
        at_D = edges_ptr + (first_edge + d_D) * 3
        class_D = tl.load(at_D, mask=is_edge_D, other=0)
        target_D = tl.load(at_D + 1, mask=is_edge_D, other=0)
        state += tl.sum(tl.where(is_edge_D & (class_D == own_class), target_D, 0), 0)
    return state


@triton.jit
def _make_ready(
    n,
    token,
    row,
    left,
    first_edge,
    num_edges,
    inner_ptr,
    gates_ptr,
    allowed_ptr,
    plain_state_ptr,
    plain_rest_ptr,
    state_stride,
    rest_stride,
    before_ptr,
    weight_ptr,
    edges_ptr,
    num_rows,
    num_vocab,
    num_classes,
    RANK: tl.constexpr,
    NUM_READERS: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """What a step reads of its slot: the classes that lead on to an accepted text, what the token in front adds, the logits of
    copying, of the confidence and of NULL."""
    allowed_ptr += n * num_classes
    for first in range(0, num_classes, BLOCK_C):
        c_C = first + tl.arange(0, BLOCK_C)
        tl.store(allowed_ptr + c_C, tl.zeros((BLOCK_C,), tl.uint8), mask=c_C < num_classes)
    tl.debug_barrier()
    for first in range(0, num_edges, BLOCK_D):
        d_D = first + tl.arange(0, BLOCK_D)
        is_edge_D = d_D < num_edges
        at_D = edges_ptr + (first_edge + d_D) * 3
        class_D = tl.load(at_D, mask=is_edge_D, other=0)
        steps_D = tl.load(at_D + 2, mask=is_edge_D, other=0)
        is_way_D = is_edge_D & (class_D > 0) & (steps_D < left)
        tl.store(allowed_ptr + class_D, tl.full((BLOCK_D,), 1, tl.uint8), mask=is_way_D)
    r_R = tl.arange(0, BLOCK_R)
    is_r = r_R < RANK
    row = tl.minimum(row, num_rows - 1)
    before_at = before_ptr + tl.where(token < 0, num_vocab, token) * RANK + r_R
    moved_R = tl.load(before_at, mask=is_r, other=0.0)
    moved_R = moved_R + tl.load(plain_state_ptr + row * state_stride + r_R, mask=is_r, other=0.0)
    wide_R = moved_R.to(tl.float32)
    inner_R = (wide_R * tl.sigmoid(wide_R)).to(moved_R.dtype).to(inner_ptr.dtype.element_ty)
    tl.store(inner_ptr + n * RANK + r_R, inner_R, mask=is_r)
    inner_R = inner_R.to(tl.float32)
    # The last three readers: copying, the confidence, NULL.
    weight_at_R = weight_ptr + (NUM_READERS - 3) * RANK + r_R
    copy_R = tl.load(weight_at_R, mask=is_r, other=0.0).to(tl.float32)
    sure_R = tl.load(weight_at_R + RANK, mask=is_r, other=0.0).to(tl.float32)
    null_R = tl.load(weight_at_R + 2 * RANK, mask=is_r, other=0.0).to(tl.float32)
    plain_at = plain_rest_ptr + row * rest_stride + NUM_READERS - 3
    more = tl.reduce((copy_R * inner_R, sure_R * inner_R, null_R * inner_R), 0, _added)
    for gate in tl.static_range(3):
        plain = tl.load(plain_at + gate).to(tl.float32)
        tl.store(gates_ptr + n * 3 + gate, plain + more[gate])
