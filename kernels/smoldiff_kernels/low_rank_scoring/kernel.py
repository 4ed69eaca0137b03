"""Low-rank scoring in Triton: the best of each block of the vocabulary for all rows, then the best of all blocks."""

# mypy: allow-untyped-defs, allow-incomplete-defs
# Triton gives parameters their types when it compiles.

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from smoldiff_kernels.marks import NULL

# Shapes: N rows, V vocabulary, R rank, C classes, T blocks of the vocabulary.


@dataclass(frozen=True, slots=True)
class Tiles:
    """How the work is cut. Every choice gives the same result, to float32 rounding."""

    block_tokens: int
    block_rank: int
    num_warps: int
    num_stages: int


# By counts, not yet by times: 1,002 blocks of 128 tokens for 132 multiprocessors, 48 KiB in flight in each of two programs.
# Measured values belong here.
TILES = Tiles(128, 64, 4, 3)
FLOAT32_TILES = Tiles(64, 32, 4, 2)
MERGE_BLOCK = 1024
_NO_TOKEN = tl.constexpr(0x7FFFFFFF)
"""Greater than every token id, so that it loses every tie."""


def low_rank_scoring_triton(
    logits_QV: Tensor,
    row_N: Tensor,
    inner_NR: Tensor,
    table_VR: Tensor,
    is_allowed_NC: Tensor,
    class_AV: Tensor,
    automaton_N: Tensor,
    null_N: Tensor,
    tiles: Tiles | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    if not logits_QV.is_cuda and isinstance(_blocks, triton.JITFunction):
        raise ValueError(
            "impl='triton' needs tensors on a GPU; without one set TRITON_INTERPRET=1 before triton is imported"
        )
    num_rows, (num_vocab, rank), device = len(row_N), table_VR.shape, logits_QV.device
    if tiles is None:
        tiles = FLOAT32_TILES if logits_QV.element_size() == 4 else TILES
    num_blocks = triton.cdiv(num_vocab, tiles.block_tokens)
    floats = {"dtype": torch.float32, "device": device}
    token_N = torch.empty(num_rows, dtype=torch.long, device=device)
    logit_N, lse_N = torch.empty(num_rows, **floats), torch.empty(num_rows, **floats)
    if num_rows == 0:
        return token_N, logit_N, lse_N
    best_NT, top_NT, total_NT = (torch.empty(num_rows, num_blocks, **floats) for _ in range(3))
    token_NT = torch.empty(num_rows, num_blocks, dtype=torch.int32, device=device)
    logits_QV, inner_NR, table_VR, is_allowed_NC, class_AV = (
        t if t.stride(1) == 1 else t.contiguous()
        for t in (logits_QV, inner_NR, table_VR, is_allowed_NC, class_AV)
    )
    block_rows = min(64, max(16, triton.next_power_of_2(num_rows)))
    with torch.cuda.device_of(logits_QV):
        _blocks[(num_blocks, triton.cdiv(num_rows, block_rows))](
            logits_QV,
            row_N.contiguous(),
            inner_NR,
            table_VR,
            is_allowed_NC.view(torch.uint8),
            class_AV,
            automaton_N.contiguous(),
            best_NT,
            token_NT,
            top_NT,
            total_NT,
            num_rows,
            num_vocab,
            num_blocks,
            logits_QV.stride(0),
            inner_NR.stride(0),
            table_VR.stride(0),
            is_allowed_NC.stride(0),
            class_AV.stride(0),
            RANK=rank,
            BLOCK_TOKENS=tiles.block_tokens,
            BLOCK_ROWS=block_rows,
            BLOCK_RANK=tiles.block_rank,
            num_warps=tiles.num_warps,
            num_stages=tiles.num_stages,
        )
        _merge[(num_rows,)](
            best_NT,
            token_NT,
            top_NT,
            total_NT,
            null_N.contiguous(),
            token_N,
            logit_N,
            lse_N,
            num_blocks,
            NULL=NULL,
            BLOCK=min(MERGE_BLOCK, triton.next_power_of_2(num_blocks)),
            num_warps=4,
        )
    return token_N, logit_N, lse_N


@triton.jit(do_not_specialize=["num_rows", "num_vocab", "num_blocks"])
def _blocks(
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
    num_rows,
    num_vocab,
    num_blocks,
    logits_stride,
    inner_stride,
    table_stride,
    allowed_stride,
    class_stride,
    RANK: tl.constexpr,
    BLOCK_TOKENS: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_RANK: tl.constexpr,
):
    """[N, T] of each block: the best allowed logit and its token, the largest logit, the sum of exp(logit - largest)."""
    block = tl.program_id(0)
    token_V = block * BLOCK_TOKENS + tl.arange(0, BLOCK_TOKENS)
    n_N = tl.program_id(1) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    is_token_V, is_row_N = token_V < num_vocab, n_N < num_rows
    is_in_VN = is_token_V[:, None] & is_row_N[None, :]
    # first what the products do not wait for
    row_N = tl.load(row_ptr + n_N, mask=is_row_N, other=0)
    automaton_N = tl.load(automaton_ptr + n_N, mask=is_row_N, other=0)
    logits_at = logits_ptr + row_N[None, :] * logits_stride + token_V[:, None]
    plain_VN = tl.load(logits_at, mask=is_in_VN, other=float("-inf")).to(tl.float32)
    class_at = class_ptr + automaton_N[None, :] * class_stride + token_V[:, None]
    class_VN = tl.load(class_at, mask=is_in_VN, other=0).to(tl.int32)
    allowed_at = allowed_ptr + n_N.to(tl.int64)[None, :] * allowed_stride + class_VN
    is_allowed_VN = tl.load(allowed_at, mask=is_in_VN, other=0) != 0
    low_VN = tl.zeros((BLOCK_TOKENS, BLOCK_ROWS), tl.float32)
    for start in range(0, RANK, BLOCK_RANK):
        r_R = start + tl.arange(0, BLOCK_RANK)
        table_at = table_ptr + token_V.to(tl.int64)[:, None] * table_stride + r_R[None, :]
        inner_at = inner_ptr + n_N.to(tl.int64)[:, None] * inner_stride + r_R[None, :]
        is_r = (r_R < RANK)[None, :]
        table_VR = tl.load(table_at, mask=is_token_V[:, None] & is_r, other=0.0)
        inner_NR = tl.load(inner_at, mask=is_row_N[:, None] & is_r, other=0.0)
        low_VN = tl.dot(table_VR, inner_NR.T, low_VN, input_precision="ieee")
    logits_VN = plain_VN + low_VN
    top_N = tl.max(logits_VN, 0)
    total_N = tl.sum(tl.exp(logits_VN - tl.where(top_N == float("-inf"), 0.0, top_N)[None, :]), 0)
    allowed_VN = tl.where(is_allowed_VN, logits_VN, float("-inf"))
    best_N = tl.max(allowed_VN, 0)
    is_best_VN = is_allowed_VN & (allowed_VN == best_N[None, :])
    best_token_N = tl.min(tl.where(is_best_VN, token_V[:, None], _NO_TOKEN), 0)
    at = n_N.to(tl.int64) * num_blocks + block
    tl.store(best_ptr + at, best_N, mask=is_row_N)
    tl.store(token_ptr + at, best_token_N, mask=is_row_N)
    tl.store(top_ptr + at, top_N, mask=is_row_N)
    tl.store(total_ptr + at, total_N, mask=is_row_N)


@triton.jit(do_not_specialize=["num_blocks"])
def _merge(
    best_ptr,
    token_ptr,
    top_ptr,
    total_ptr,
    null_ptr,
    token_out_ptr,
    logit_out_ptr,
    lse_out_ptr,
    num_blocks,
    NULL: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    lanes = tl.arange(0, BLOCK)
    best = tl.full((BLOCK,), float("-inf"), tl.float32)
    token = tl.full((BLOCK,), _NO_TOKEN, tl.int32)
    top = tl.full((BLOCK,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, num_blocks, BLOCK):
        is_in = start + lanes < num_blocks
        at = row * num_blocks + start + lanes
        found = tl.load(best_ptr + at, mask=is_in, other=float("-inf"))
        found_token = tl.load(token_ptr + at, mask=is_in, other=_NO_TOKEN)
        found_top = tl.load(top_ptr + at, mask=is_in, other=float("-inf"))
        found_total = tl.load(total_ptr + at, mask=is_in, other=0.0)
        token = tl.where(found > best, found_token, token)  # blocks come in the order of ids
        best = tl.maximum(best, found)
        new_top = tl.maximum(top, found_top)
        finite = tl.where(new_top == float("-inf"), 0.0, new_top)
        total = total * tl.exp(top - finite) + found_total * tl.exp(found_top - finite)
        top = new_top
    null = tl.load(null_ptr + row)
    whole = tl.maximum(tl.max(top, 0), null)
    sums = tl.sum(total * tl.exp(top - whole), 0) + tl.exp(null - whole)
    best_logit = tl.max(best, 0)
    best_token = tl.min(tl.where(best == best_logit, token, _NO_TOKEN), 0)
    best_token = tl.where(best_logit == float("-inf"), NULL, best_token)
    tl.store(token_out_ptr + row, best_token.to(tl.int64))
    tl.store(logit_out_ptr + row, best_logit)
    tl.store(lse_out_ptr + row, whole + tl.log(sums))
