"""The three passes over what the matrix products leave: over logits, over sums of LM head rows, and over gradients."""

from __future__ import annotations

import triton
import triton.language as tl

# mypy: allow-untyped-defs, allow-incomplete-defs

# Names: row, one of K; part, one of S parts of the vocabulary; size, the hidden size D; wanted, tokens [K, T].
# Padded sizes in capitals: T of the tokens of a row, BLOCK of columns or of hidden dimensions.


@triton.jit
def exponentials_kernel(
    logits_ptr,  # [K, stride], overwritten
    stride,
    wanted_ptr,  # [K, num_wanted]
    null_logits_ptr,  # [K]
    log_p_ptr,  # [K, num_wanted]
    mean_log_p_ptr,  # [K]
    lse_ptr,  # [K]
    best_ptr,  # [K]
    scale_ptr,  # [K]
    num_vocab,
    num_wanted,
    HAS_NULL: tl.constexpr,
    HAS_GRADIENT: tl.constexpr,
    LIMIT: tl.constexpr,
    T: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Turns a row of logits into exp(logit - ref), and 0 at the wanted tokens; scale = exp(ref - lse) makes them probabilities.

    One read and one write: ref need not be the maximum, only no more than LIMIT below any logit, so that nothing overflows.
    A block with a larger logit raises ref, and what was written before it is scaled again; that is rare after the first.
    """
    row = tl.program_id(0).to(tl.int64)
    logits_ptr += row * stride
    t = tl.arange(0, T)
    ids = tl.load(wanted_ptr + row * num_wanted + t, mask=t < num_wanted, other=-1)
    is_token = (ids >= 0) & (ids < num_vocab)
    at_wanted = tl.load(logits_ptr + ids, mask=is_token, other=float("nan")).to(tl.float32)
    ref = tl.full([], -1e30, tl.float32)
    peak = tl.full([], float("-inf"), tl.float32)
    best_token = tl.full([], 0, tl.int32)
    z = tl.full([], 0.0, tl.float32)
    total = tl.full([], 0.0, tl.float32)
    if HAS_NULL:
        null_logit = tl.load(null_logits_ptr + row).to(tl.float32)
        at_wanted = tl.where(ids == num_vocab, null_logit, at_wanted)
        ref = tl.maximum(ref, null_logit)
    tl.debug_barrier()  # the wanted logits are read before any is overwritten

    columns = tl.arange(0, BLOCK)
    ahead = tl.load(logits_ptr + columns, mask=columns < num_vocab, other=float("-inf"))
    for start in range(0, num_vocab, BLOCK):
        x = ahead.to(tl.float32)
        next_columns = start + BLOCK + columns
        ahead = tl.load(
            logits_ptr + next_columns, mask=next_columns < num_vocab, other=float("-inf")
        )
        top = tl.max(x, 0)
        if top > peak:
            peak = top
            best_token = start + tl.min(tl.where(x == top, columns, BLOCK), 0)
        if top > ref + LIMIT:
            shrink = tl.exp(ref - top)
            if HAS_GRADIENT:
                tl.debug_barrier()
                for done in range(0, start, BLOCK):
                    e = tl.load(logits_ptr + done + columns).to(tl.float32) * shrink
                    tl.store(logits_ptr + done + columns, e.to(logits_ptr.dtype.element_ty))
            z *= shrink
            ref = top
        is_column = start + columns < num_vocab
        e = tl.exp(x - ref)
        z += tl.sum(e, 0)
        total += tl.sum(tl.where(is_column, x, 0.0), 0)
        if HAS_GRADIENT:
            tl.store(
                logits_ptr + start + columns, e.to(logits_ptr.dtype.element_ty), mask=is_column
            )

    num_columns = num_vocab
    if HAS_NULL:
        z += tl.exp(null_logit - ref)
        total += null_logit
        best_token = tl.where(null_logit > peak, num_vocab, best_token)
        num_columns = num_vocab + 1
    row_lse = ref + tl.log(z)
    tl.store(log_p_ptr + row * num_wanted + t, at_wanted - row_lse, mask=t < num_wanted)
    tl.store(mean_log_p_ptr + row, total / num_columns - row_lse)
    tl.store(lse_ptr + row, row_lse)
    tl.store(best_ptr + row, best_token.to(tl.int64))
    if HAS_GRADIENT:
        tl.store(scale_ptr + row, 1.0 / z)
        tl.debug_barrier()
        zeros = tl.zeros([T], tl.float32)
        tl.store(logits_ptr + ids, zeros.to(logits_ptr.dtype.element_ty), mask=is_token)


@triton.jit
def sum_of_parts_kernel(
    parts_ptr,  # [S, K, size]
    scale_ptr,  # [K]
    out_ptr,  # [K, size]
    num_parts,
    num_rows,
    size,
    BLOCK: tl.constexpr,
):
    """The sum over parts, times the scale of the row."""
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    is_column = columns < size
    total = tl.zeros([BLOCK], tl.float32)
    for part in range(num_parts):
        total += tl.load(
            parts_ptr + (part * num_rows + row) * size + columns, mask=is_column, other=0.0
        )
    total *= tl.load(scale_ptr + row)
    tl.store(out_ptr + row * size + columns, total.to(out_ptr.dtype.element_ty), mask=is_column)


@triton.jit
def gradient_kernel(
    grad_log_p_ptr,  # [K, num_wanted]
    grad_mean_ptr,  # [K]
    log_p_ptr,  # [K, num_wanted]
    wanted_ptr,  # [K, num_wanted]
    others_ptr,  # [K, size]
    lm_head_ptr,  # [num_vocab, size]
    lm_head_mean_ptr,  # [size]
    null_logits_ptr,  # [K]
    lse_ptr,  # [K]
    grad_hidden_ptr,  # [K, size]
    grad_null_ptr,  # [K]
    num_vocab,
    num_wanted,
    size,
    HAS_NULL: tl.constexpr,
    HAS_MEAN: tl.constexpr,
    T: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """The gradient of a row from g, that of its log-probabilities; G is their sum.

    In the logits it is sum_t g_t [v = t] - G p_v. So in the hidden state it is the LM head's rows of the wanted tokens
    times g_t - G p_t, less G times `others`, the mean of all other rows under p. A mean log-probability adds to G, and its
    gradient times the mean of all rows.
    """
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    is_column = columns < size
    t = tl.arange(0, T)
    at = row * num_wanted
    ids = tl.load(wanted_ptr + at + t, mask=t < num_wanted, other=-1)
    g = tl.load(grad_log_p_ptr + at + t, mask=t < num_wanted, other=0.0)
    g_sum = tl.sum(g, 0)
    if HAS_MEAN:
        g_mean = tl.load(grad_mean_ptr + row)
        g_sum += g_mean
    x = -g_sum * tl.load(others_ptr + row * size + columns, mask=is_column, other=0.0).to(
        tl.float32
    )
    if HAS_MEAN:
        x += g_mean * tl.load(lm_head_mean_ptr + columns, mask=is_column, other=0.0)
    for i in range(num_wanted):
        token = tl.load(wanted_ptr + at + i)
        # A token that stands twice has one probability to be paid for.
        is_first = tl.sum(((ids == token) & (t < i)).to(tl.int32), 0) == 0
        paid = tl.where(is_first, g_sum * tl.exp(tl.load(log_p_ptr + at + i)), 0.0)
        factor = tl.load(grad_log_p_ptr + at + i) - paid
        num_read = tl.where((token >= 0) & (token < num_vocab), size, 0)
        rows = tl.load(lm_head_ptr + token * size + columns, mask=columns < num_read, other=0.0)
        x += factor * rows.to(tl.float32)
    tl.store(
        grad_hidden_ptr + row * size + columns,
        x.to(grad_hidden_ptr.dtype.element_ty),
        mask=is_column,
    )
    if HAS_NULL:
        p_null = tl.exp(tl.load(null_logits_ptr + row).to(tl.float32) - tl.load(lse_ptr + row))
        of_null = tl.sum(tl.where(ids == num_vocab, g, 0.0), 0) - g_sum * p_null
        if HAS_MEAN:
            of_null += g_mean / (num_vocab + 1)
        tl.store(grad_null_ptr + row, of_null, mask=tl.program_id(1) == 0)
