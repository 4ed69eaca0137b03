"""Constrained scoring in Triton: the best of each segment of LM head rows, then the best of all segments.

With N rows (128 at most here), H = 2048, R = V = 128,256 LM head rows, bf16, on an H200 (4.27 TB/s, 690 TFLOP/s):

LM head        R * H * 2       = 525 MB    122 us   each row once: a tile holds all N rows of hidden states
hidden states  R / block_places * N * H * 2, from the L2 cache: 66 MB at 16 rows (tiles of 128), 263 MB at 128 (of 256)
products       2 * N * R * H   = 67 GFLOP   97 us   at 128 rows, beside the loads
epilogue       24 instructions a logit in the code for sm_90, 28 for a draw, whose segments hold 16 tokens: 16.4 M logits at 128
               rows are 13 to 16 us of all issue slots, beside the loads of the next tile
partial        3 numbers of 4 bytes a row and segment (2 for a draw), written, then read: 0.8 MB at 128 rows with tiles of
               256 as segments, 8.2 MB for a draw, 12 MB for classes: 4 to 6 us
a draw         noise for each segment, some 70 instructions, and the 16 rows of one: 8 MB at 128 rows, 2 us; in each of 25 classes
               218 MB, 41 us

No logit leaves the registers. Tiles follow each other in one loop, so that loads run ahead over the end of a tile.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
# Triton gives parameters their types when it compiles.

from __future__ import annotations

import math

import triton
import triton.language as tl

from smoldiff_kernels.constrained_scoring.noise import (
    KEY_STEP,
    MAX_UNIFORM,
    MULTIPLIER,
    NUM_ROUNDS,
    SEGMENT_BIT,
)

# Shapes: T segments of S places each, N rows, K hidden sizes.

_MULTIPLIER = tl.constexpr(MULTIPLIER)
_KEY_STEP = tl.constexpr(KEY_STEP)
_NUM_ROUNDS = tl.constexpr(NUM_ROUNDS)
_MAX_UNIFORM = tl.constexpr(MAX_UNIFORM)
_SEGMENT_BIT = tl.constexpr(SEGMENT_BIT - 2**32)  # as an int32
_LOG2_E = tl.constexpr(math.log2(math.e))
_NO_TOKEN = tl.constexpr(0x7FFFFFFF)
"""Greater than every token id, so that it loses every tie."""


@triton.jit
def _random_words(number, seed):
    """The first word of Philox2x32-7, counter (number, high half of the seed), key the low half."""
    first = number.to(tl.uint32)
    second = (seed >> 32).to(tl.uint32)
    key = seed.to(tl.uint32)
    for _ in tl.static_range(_NUM_ROUNDS):
        product = first.to(tl.uint64) * _MULTIPLIER
        first = (product >> 32).to(tl.uint32) ^ key ^ second
        second = product.to(tl.uint32)
        key = (key.to(tl.uint64) + _KEY_STEP).to(tl.uint32)
    return first


@triton.jit
def _exponentials(number, seed):
    """Exponential noise, the negative logarithm of which is Gumbel noise. Small numbers keep all their bits."""
    word = _random_words(number, seed)
    u = tl.minimum((word.to(tl.float32) + 0.5) * 2.3283064365386963e-10, _MAX_UNIFORM)
    series = u * (1.0 + u * (0.5 + u * (0.33333334 + u * 0.25)))
    return tl.where(u < 0.015625, series, -tl.log(1.0 - u))


@triton.jit
def _gumbel(number, seed, is_greedy):
    """Gumbel noise, none in a greedy row."""
    return tl.where(is_greedy, 0.0, -tl.log(_exponentials(number, seed)))


@triton.jit(do_not_specialize=["num_rows", "num_places", "num_segments", "num_words"])
def score_segments(
    hidden_ptr,
    lm_head_ptr,
    token_ptr,
    mask_ptr,
    temperature_ptr,
    best_ptr,
    top_ptr,
    total_ptr,
    num_rows,
    num_segments,
    num_places,
    num_words,
    hidden_stride,
    lm_head_stride,
    mask_stride,
    HIDDEN_SIZE: tl.constexpr,
    HAS_TOKENS: tl.constexpr,
    HAS_MASK: tl.constexpr,
    HAS_NOISE: tl.constexpr,
    IS_CHAINED: tl.constexpr,
    SEGMENT: tl.constexpr,
    BLOCK_PLACES: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_HIDDEN: tl.constexpr,
):
    """[N, T] of each segment: the largest logit, the sum of exp(logit - largest), and the lowest of its best tokens, which
    a draw needs only where the tokens of segments are mixed. With noise, logits are those over the temperature."""
    if IS_CHAINED:
        tl.extra.cuda.gdc_wait()
        tl.extra.cuda.gdc_launch_dependents()
    NUM_STEPS: tl.constexpr = (HIDDEN_SIZE + BLOCK_HIDDEN - 1) // BLOCK_HIDDEN
    NUM_SEGMENTS: tl.constexpr = BLOCK_PLACES // SEGMENT
    program = tl.program_id(0)
    num_programs = tl.num_programs(0)
    num_row_blocks = tl.cdiv(num_rows, BLOCK_ROWS)
    num_tiles = tl.cdiv(num_places, BLOCK_PLACES) * num_row_blocks
    logits = tl.zeros((BLOCK_PLACES, BLOCK_ROWS), tl.float32)
    tokens = tl.full((BLOCK_PLACES,), -1, tl.int32)
    for step in range(tl.cdiv(num_tiles - program, num_programs) * NUM_STEPS):
        tile = program + step // NUM_STEPS * num_programs
        block = tile // num_row_blocks  # tiles that share LM head rows run side by side
        places = block * BLOCK_PLACES + tl.arange(0, BLOCK_PLACES)
        rows = tile % num_row_blocks * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
        is_row = rows < num_rows
        if HAS_TOKENS:
            if step % NUM_STEPS == 0:
                tokens = tl.load(token_ptr + places, mask=places < num_places, other=-1)
            is_token = tokens >= 0
        else:
            tokens = places
            is_token = places < num_places
        ks = step % NUM_STEPS * BLOCK_HIDDEN + tl.arange(0, BLOCK_HIDDEN)
        is_weight, is_state = is_token[:, None], is_row[:, None]
        if HIDDEN_SIZE % BLOCK_HIDDEN:
            is_weight = is_weight & (ks < HIDDEN_SIZE)[None, :]
            is_state = is_state & (ks < HIDDEN_SIZE)[None, :]
        weight_at = lm_head_ptr + tokens.to(tl.int64)[:, None] * lm_head_stride + ks[None, :]
        state_at = hidden_ptr + rows.to(tl.int64)[:, None] * hidden_stride + ks[None, :]
        weights = tl.load(weight_at, mask=is_weight, other=0.0)
        states = tl.load(state_at, mask=is_state, other=0.0)
        logits = tl.dot(weights, states.T, logits, input_precision="ieee")

        if step % NUM_STEPS == NUM_STEPS - 1:
            # Loaded again, under another name: carried from here to the loads of the next tile, they would end the
            # running ahead (the compiler says nothing); carried from the tile's first step to here, they cost registers.
            ids, is_allowed = places, is_token[:, None]
            if HAS_TOKENS:
                ids = tl.load(token_ptr + places, mask=places < num_places, other=-1)
                is_allowed = (ids >= 0)[:, None]
            if HAS_MASK:
                words = block * (BLOCK_PLACES // 32) + tl.arange(0, BLOCK_PLACES // 32)
                word_at = mask_ptr + rows.to(tl.int64)[None, :] * mask_stride + words[:, None]
                is_word = (words < num_words)[:, None] & is_row[None, :]
                bits = tl.load(word_at, mask=is_word, other=0)[:, None, :]
                bits = bits >> tl.arange(0, 32)[None, :, None] & 1
                is_allowed = is_allowed & (tl.reshape(bits, (BLOCK_PLACES, BLOCK_ROWS)) != 0)
            if HAS_NOISE:
                temperature = tl.load(temperature_ptr + rows, mask=is_row, other=0.0)
                logits *= (1.0 / tl.where(temperature == 0.0, 1.0, temperature))[None, :]
            logits = tl.where(is_allowed, logits, float("-inf"))
            logits_TSN = tl.reshape(logits, (NUM_SEGMENTS, SEGMENT, BLOCK_ROWS))
            top = tl.max(logits_TSN, 1)
            finite_top = tl.where(top == float("-inf"), 0.0, top)
            p_TSN = tl.exp2(logits_TSN * _LOG2_E - (finite_top * _LOG2_E)[:, None, :])
            segments = block * NUM_SEGMENTS + tl.arange(0, NUM_SEGMENTS)
            at = rows.to(tl.int64)[None, :] * num_segments + segments[:, None]
            is_out = is_row[None, :] & (segments < num_segments)[:, None]
            if best_ptr is not None:
                tokens_TSN = tl.reshape(ids, (NUM_SEGMENTS, SEGMENT))[:, :, None]
                best = tl.min(tl.where(logits_TSN == top[:, None, :], tokens_TSN, _NO_TOKEN), 1)
                tl.store(best_ptr + at, best, mask=is_out)
            tl.store(top_ptr + at, top, mask=is_out)
            tl.store(total_ptr + at, tl.sum(p_TSN, 1), mask=is_out)
            logits = tl.zeros((BLOCK_PLACES, BLOCK_ROWS), tl.float32)


@triton.jit
def _added(top, total, found_top, found_total):
    """total * exp(top) + found_total * exp(found_top), lane by lane, as a top and a total."""
    new_top = tl.maximum(top, found_top)
    finite_top = tl.where(new_top == float("-inf"), 0.0, new_top)
    return new_top, total * tl.exp(top - finite_top) + found_total * tl.exp(found_top - finite_top)


@triton.jit
def _lse(top, total):
    """The logarithm of the sum of total * exp(top) over all lanes."""
    whole = tl.max(top, 0)
    is_none = whole == float("-inf")
    finite_whole = tl.where(is_none, 0.0, whole)
    sums = tl.sum(total * tl.exp(top - finite_whole), 0)
    return whole + tl.log(tl.where(is_none, 1.0, sums))


@triton.jit
def _sum_of(lse, other):
    """Log-sum-exp of both."""
    top = tl.maximum(lse, other)
    finite_top = tl.where(top == float("-inf"), 0.0, top)
    return top + tl.log(1.0 + tl.exp(tl.minimum(lse, other) - finite_top))


@triton.jit
def _one_of(score, token, logit):
    """The best of all lanes."""
    best_score = tl.max(score, 0)
    best_token = tl.min(tl.where(score == best_score, token, _NO_TOKEN), 0)
    best_logit = tl.max(tl.where(token == best_token, logit, float("-inf")), 0)
    return best_score, best_token, best_logit


@triton.jit
def _drawn_token(
    segment,
    row,
    seed,
    temperature,
    hidden_ptr,
    lm_head_ptr,
    token_ptr,
    mask_ptr,
    num_places,
    num_words,
    hidden_stride,
    lm_head_stride,
    mask_stride,
    HIDDEN_SIZE: tl.constexpr,
    HAS_TOKENS: tl.constexpr,
    HAS_MASK: tl.constexpr,
    SEGMENT: tl.constexpr,
    BLOCK_HIDDEN: tl.constexpr,
):
    """A token of one segment, and its logit, computed once more."""
    places = segment * SEGMENT + tl.arange(0, SEGMENT)
    tokens = places
    if HAS_TOKENS:
        tokens = tl.load(token_ptr + places, mask=places < num_places, other=-1)
    is_allowed = (tokens >= 0) & (places < num_places)
    at = lm_head_ptr + tokens.to(tl.int64)[:, None] * lm_head_stride
    products = tl.zeros((SEGMENT, BLOCK_HIDDEN), tl.float32)
    for start in tl.static_range(0, HIDDEN_SIZE, BLOCK_HIDDEN):  # so that loads run ahead
        ks = start + tl.arange(0, BLOCK_HIDDEN)
        is_k = ks < HIDDEN_SIZE
        states = tl.load(hidden_ptr + row * hidden_stride + ks, mask=is_k, other=0.0)
        weights = tl.load(at + ks[None, :], mask=is_allowed[:, None] & is_k[None, :], other=0.0)
        products += weights.to(tl.float32) * states.to(tl.float32)[None, :]
    if HAS_MASK:
        words = tokens // 32
        word_at = mask_ptr + row * mask_stride + words
        bits = tl.load(word_at, mask=is_allowed & (words < num_words), other=0)
        is_allowed = is_allowed & ((bits >> tokens % 32 & 1) != 0)
    is_greedy = temperature == 0.0
    logits = tl.sum(products, 1) / tl.where(is_greedy, 1.0, temperature)
    logits = tl.where(is_allowed, logits, float("-inf"))
    _, token, logit = _one_of(logits + _gumbel(tokens, seed, is_greedy), tokens, logits)
    return token, logit


@triton.jit(do_not_specialize=["num_segments", "num_classes", "num_extra"])
def merge_segments(
    best_ptr,
    top_ptr,
    total_ptr,
    hidden_ptr,
    lm_head_ptr,
    place_token_ptr,
    mask_ptr,
    set_ptr,
    first_ptr,
    entry_ptr,
    extra_ptr,
    seed_ptr,
    temperature_ptr,
    token_out_ptr,
    log_prob_out_ptr,
    lse_out_ptr,
    all_lse_out_ptr,
    class_score_out_ptr,
    class_token_out_ptr,
    class_logit_out_ptr,
    num_segments,
    num_classes,
    num_extra,
    vocab_size,
    num_places,
    num_words,
    hidden_stride,
    lm_head_stride,
    mask_stride,
    extra_stride,
    HIDDEN_SIZE: tl.constexpr,
    HAS_SETS: tl.constexpr,
    HAS_MASK: tl.constexpr,
    HAS_EXTRA: tl.constexpr,
    HAS_NOISE: tl.constexpr,
    IS_SINGLE: tl.constexpr,
    IS_CHAINED: tl.constexpr,
    SEGMENT: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_HIDDEN: tl.constexpr,
    BLOCK_EXTRA: tl.constexpr,
):
    """Program (row, class): the best of a class's segments; program (row, number of classes): that of all of the set.

    With noise, a segment is drawn, then a token in it. IS_SINGLE says that no class has more than one segment, and with noise
    no segment more than one token: the second program of a row finds all classes side by side, and there is no first.
    """
    if IS_CHAINED:
        tl.extra.cuda.gdc_wait()
        tl.extra.cuda.gdc_launch_dependents()
    row = tl.program_id(0).to(tl.int64)
    number = num_classes - tl.program_id(1)  # the longest programs begin first
    is_whole = number == num_classes
    start, stop = 0, num_segments
    if HAS_SETS:
        first_at = first_ptr + tl.load(set_ptr + row).to(tl.int64) * (num_classes + 1)
        start = tl.load(first_at + tl.where(is_whole, 0, number))
        stop = tl.load(first_at + tl.where(is_whole, num_classes, number + 1))
    lanes = tl.arange(0, BLOCK)
    score = tl.full((BLOCK,), float("-inf"), tl.float32)
    token = tl.full((BLOCK,), _NO_TOKEN, tl.int32)
    segment = token
    top = score
    if HAS_NOISE:
        seed, temperature = tl.load(seed_ptr + row), tl.load(temperature_ptr + row)
        is_greedy = temperature == 0.0
    total = tl.zeros((BLOCK,), tl.float32)
    for at in range(start, stop, BLOCK):
        segments = at + lanes
        is_in = segments < stop
        if HAS_SETS:
            segments = tl.load(entry_ptr + segments, mask=is_in, other=0)
        found_at = row * num_segments + segments
        found_top = tl.load(top_ptr + found_at, mask=is_in, other=float("-inf"))
        found_total = tl.load(total_ptr + found_at, mask=is_in, other=0.0)
        top, total = _added(top, total, found_top, found_total)
        found = found_top
        found_token = segments  # in the order of token ids, where they are not mixed
        if best_ptr is not None:
            found_token = tl.load(best_ptr + found_at, mask=is_in, other=_NO_TOKEN)
        if HAS_NOISE:
            exponentials = _exponentials(segments | _SEGMENT_BIT, seed)
            drawn = found_top + tl.log(tl.where(found_total > 0.0, found_total / exponentials, 1.0))
            found = tl.where(is_greedy, found_top, drawn)
        is_better = (found > score) | ((found == score) & (found_token < token))
        score = tl.where(is_better, found, score)
        token = tl.where(is_better, found_token, token)
        if HAS_NOISE:
            segment = tl.where(is_better, segments, segment)
    best_score, best_token, best_logit = _one_of(score, token, score)
    if HAS_NOISE:
        is_best = (score == best_score) & (token == best_token)
        chosen = tl.min(tl.where(is_best, segment, _NO_TOKEN), 0)
        best_token, best_logit = _drawn_token(
            tl.where(best_score == float("-inf"), 0, chosen),
            row,
            seed,
            temperature,
            hidden_ptr,
            lm_head_ptr,
            place_token_ptr,
            mask_ptr,
            num_places,
            num_words,
            hidden_stride,
            lm_head_stride,
            mask_stride,
            HIDDEN_SIZE,
            HAS_SETS,
            HAS_MASK,
            SEGMENT,
            BLOCK_HIDDEN,
        )
        best_logit = tl.where(best_score == float("-inf"), float("-inf"), best_logit)
        best_score = tl.where(is_greedy, best_logit, best_score)
    class_at = row * (num_classes + num_extra)
    if IS_SINGLE:
        for at in range(0, num_classes, BLOCK):
            numbers = at + lanes
            is_in = numbers < num_classes
            first = tl.load(first_at + numbers, mask=is_in, other=0)
            has_one = is_in & (tl.load(first_at + numbers + 1, mask=is_in, other=0) > first)
            segments = tl.load(entry_ptr + first, mask=has_one, other=0)
            found_at = row * num_segments + segments
            logit = tl.load(top_ptr + found_at, mask=has_one, other=float("-inf"))
            found_token = tl.load(best_ptr + found_at, mask=has_one, other=-1)
            found = logit
            if HAS_NOISE:
                found = logit + _gumbel(segments | _SEGMENT_BIT, seed, is_greedy)
            is_none = logit == float("-inf")
            tl.store(class_score_out_ptr + class_at + numbers, found, mask=is_in)
            tl.store(
                class_token_out_ptr + class_at + numbers,
                tl.where(is_none, -1, found_token),
                mask=is_in,
            )
            if HAS_NOISE:
                tl.store(class_logit_out_ptr + class_at + numbers, logit, mask=is_in)
    elif HAS_SETS:
        is_class = number < num_classes
        class_token = tl.where(best_score == float("-inf"), -1, best_token)
        tl.store(class_score_out_ptr + class_at + number, best_score, mask=is_class)
        tl.store(class_token_out_ptr + class_at + number, class_token, mask=is_class)
        if HAS_NOISE:
            tl.store(class_logit_out_ptr + class_at + number, best_logit, mask=is_class)
    if is_whole:
        lse = _lse(top, total)
        all_lse = lse
        # A set has no segment twice: with as many, as always without sets, it has all of them.
        if stop - start < num_segments:
            top = tl.full((BLOCK,), float("-inf"), tl.float32)
            total = tl.zeros((BLOCK,), tl.float32)
            for at in range(0, num_segments, BLOCK):
                segments = at + lanes
                is_in = segments < num_segments
                found_at = row * num_segments + segments
                found_top = tl.load(top_ptr + found_at, mask=is_in, other=float("-inf"))
                found_total = tl.load(total_ptr + found_at, mask=is_in, other=0.0)
                top, total = _added(top, total, found_top, found_total)
            all_lse = _lse(top, total)
        if HAS_EXTRA:
            columns = tl.arange(0, BLOCK_EXTRA)
            is_extra = columns < num_extra
            extra_at = extra_ptr + row * extra_stride + columns
            extra = tl.load(extra_at, mask=is_extra, other=float("-inf")).to(tl.float32)
            extra_token = vocab_size + columns
            extra_score = extra
            if HAS_NOISE:
                extra = extra / tl.where(is_greedy, 1.0, temperature)
                extra_score = extra + _gumbel(extra_token, seed, is_greedy)
            extra_lse = _lse(extra, tl.where(is_extra, 1.0, 0.0))
            lse = _sum_of(lse, extra_lse)
            all_lse = _sum_of(all_lse, extra_lse)
            if HAS_SETS:
                column_at = class_at + num_classes + columns
                is_none = extra_score == float("-inf")
                tl.store(class_score_out_ptr + column_at, extra_score, mask=is_extra)
                shown = tl.where(is_none, -1, extra_token)
                tl.store(class_token_out_ptr + column_at, shown, mask=is_extra)
                if HAS_NOISE:
                    tl.store(class_logit_out_ptr + column_at, extra, mask=is_extra)
            top_score, top_token, top_logit = _one_of(extra_score, extra_token, extra)
            is_better = top_score > best_score  # a token of the vocabulary has the lower id
            best_score = tl.where(is_better, top_score, best_score)
            best_token = tl.where(is_better, top_token, best_token)
            best_logit = tl.where(is_better, top_logit, best_logit)
        is_none = best_score == float("-inf")
        log_prob = tl.where(is_none, float("-inf"), best_logit - tl.where(is_none, 0.0, lse))
        tl.store(token_out_ptr + row, tl.where(is_none, -1, best_token))
        tl.store(log_prob_out_ptr + row, log_prob)
        tl.store(lse_out_ptr + row, lse)
        tl.store(all_lse_out_ptr + row, all_lse)
