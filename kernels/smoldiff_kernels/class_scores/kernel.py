"""Class scores in Triton: score and token in one number, whose maximum many programs find together."""

# mypy: allow-untyped-defs, allow-incomplete-defs
# Triton gives parameters their types when it compiles.

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from smoldiff_kernels.class_scores.token_classes import TokenClasses
from smoldiff_kernels.marks import NULL, UNDECIDED

# Shapes: R rows, U scores of a row, C classes.
# A key is a score's bits, changed so that integers have its order, then 2^31 - 1 less the token: the larger is the better.

_LOWEST = -0x7F800001 << 32
"""The key of -inf and no token."""


@dataclass(frozen=True, slots=True)
class Tiles:
    """How the work is cut. Every choice gives the same result."""

    block_tokens: int
    block_classes: int
    num_warps: int


# By counts, not yet by times: eight tokens a thread. Measured values belong here.
TILES = Tiles(1024, 256, 4)


def class_scores_triton(
    score_RU: Tensor,
    null_R: Tensor,
    automaton_R: Tensor,
    classes: TokenClasses,
    fixed_R: Tensor | None,
    tiles: Tiles = TILES,
) -> tuple[Tensor, Tensor, Tensor]:
    if not score_RU.is_cuda and isinstance(_keys, triton.JITFunction):
        raise ValueError(
            "impl='triton' needs tensors on a GPU; without one set TRITON_INTERPRET=1 before triton is imported"
        )
    num_rows, num_classes = len(score_RU), classes.max_classes
    device = score_RU.device
    key_RC = torch.full((num_rows, num_classes), _LOWEST, dtype=torch.long, device=device)
    best_RC = torch.empty((num_rows, num_classes), dtype=torch.float32, device=device)
    token_RC = torch.empty((num_rows, num_classes), dtype=torch.int32, device=device)
    masked_R = torch.empty((num_rows,), dtype=torch.float32, device=device)
    if num_rows == 0:
        return best_RC, token_RC, masked_R
    score_RU = score_RU if score_RU.stride(1) == 1 else score_RU.contiguous()
    fixed_R = None if fixed_R is None else fixed_R.contiguous()
    with torch.cuda.device_of(score_RU):
        if classes.max_tokens > 0:
            _keys[(num_rows, triton.cdiv(classes.max_tokens, tiles.block_tokens))](
                score_RU,
                fixed_R,
                automaton_R.contiguous(),
                classes.first_token_A,
                classes.token_U,
                classes.column_U,
                classes.class_U,
                key_RC,
                score_RU.stride(0),
                num_classes,
                UNDECIDED=UNDECIDED,
                BLOCK=tiles.block_tokens,
                num_warps=tiles.num_warps,
            )
        _read[(num_rows, triton.cdiv(max(1, num_classes), tiles.block_classes))](
            key_RC,
            null_R.contiguous(),
            fixed_R,
            best_RC,
            token_RC,
            masked_R,
            num_classes,
            NULL=NULL,
            BLOCK=tiles.block_classes,
            num_warps=tiles.num_warps,
        )
    return best_RC, token_RC, masked_R


@triton.jit(do_not_specialize=["score_stride", "num_classes"])
def _keys(
    score_ptr,
    fixed_ptr,
    automaton_ptr,
    first_token_ptr,
    token_ptr,
    column_ptr,
    class_ptr,
    key_ptr,
    score_stride,
    num_classes,
    UNDECIDED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """The best key of each class: within the program by a segmented scan, among programs by atomic maxima."""
    row = tl.program_id(0).to(tl.int64)
    automaton = tl.load(automaton_ptr + row).to(tl.int64)
    first = tl.load(first_token_ptr + automaton).to(tl.int64)
    num_tokens = tl.load(first_token_ptr + automaton + 1) - first
    lane = tl.arange(0, BLOCK)
    own = tl.program_id(1) * BLOCK + lane
    is_own = own < num_tokens
    token = tl.load(token_ptr + first + own, mask=is_own, other=0)
    column = tl.load(column_ptr + first + own, mask=is_own, other=0)
    cls = tl.load(class_ptr + first + own, mask=is_own, other=-1)
    next_cls = tl.load(class_ptr + first + own + 1, mask=own + 1 < num_tokens, other=-1)
    at = score_ptr + row * score_stride + column
    score = tl.load(at, mask=is_own, other=float("-inf")).to(tl.float32)
    if fixed_ptr is not None:
        fixed = tl.load(fixed_ptr + row)
        score = tl.where((fixed == UNDECIDED) | (token == fixed), score, float("-inf"))
    bits = tl.where(score == 0.0, 0.0, score).to(tl.int32, bitcast=True)  # -0.0 equals 0.0
    bits = tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
    key = (bits.to(tl.int64) << 32) | (0x7FFFFFFF - token)
    _, key = tl.associative_scan((cls, key), 0, _better)
    is_last = is_own & ((next_cls != cls) | (lane == BLOCK - 1))
    tl.atomic_max(key_ptr + row * num_classes + cls, key, mask=is_last, sem="relaxed")


@triton.jit
def _better(cls_a, key_a, cls_b, key_b):
    return cls_b, tl.where(cls_a == cls_b, tl.maximum(key_a, key_b), key_b)


@triton.jit(do_not_specialize=["num_classes"])
def _read(
    key_ptr,
    null_ptr,
    fixed_ptr,
    best_ptr,
    token_ptr,
    masked_ptr,
    num_classes,
    NULL: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Scores and tokens of the keys, and the NULL scores."""
    row = tl.program_id(0).to(tl.int64)
    cls = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    is_class = cls < num_classes
    key = tl.load(key_ptr + row * num_classes + cls, mask=is_class, other=0)
    bits = (key >> 32).to(tl.int32)
    score = tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits).to(tl.float32, bitcast=True)
    token = (0x7FFFFFFF - (key & 0x7FFFFFFF)).to(tl.int32)
    tl.store(best_ptr + row * num_classes + cls, score, mask=is_class)
    token = tl.where(score == float("-inf"), NULL, token)
    tl.store(token_ptr + row * num_classes + cls, token, mask=is_class)
    if tl.program_id(1) == 0:
        null = tl.load(null_ptr + row).to(tl.float32)
        if fixed_ptr is not None:
            null = tl.where(tl.load(fixed_ptr + row) >= 0, float("-inf"), null)
        tl.store(masked_ptr + row, null)
