"""Which tiles the Triton kernels of constrained scoring take, and their launches."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import torch
import triton
from torch import Tensor

from smoldiff_kernels.chained import can_chain, chained
from smoldiff_kernels.constrained_scoring.kernel import merge_segments, score_segments
from smoldiff_kernels.constrained_scoring.noise import DRAWN_SEGMENT, Noise
from smoldiff_kernels.constrained_scoring.token_sets import TokenSets

# Shapes: N rows, H hidden size, V vocabulary, W words of a mask, X extra tokens, C classes, T segments.


@dataclass(frozen=True, slots=True)
class Tiles:
    """How the work is cut. Every choice gives the same result, to float32 rounding."""

    block_places: int
    """LM head rows of a tile, a power of two from 32."""
    block_rows: int
    """Rows of hidden states of a tile, a power of two from 16. With fewer than N, the LM head is read again, from L2."""
    block_hidden: int
    """Hidden sizes a step, a power of two from 16."""
    num_warps: int
    num_stages: int
    """Steps in flight and the one at work."""
    programs_per_sm: int
    """As many as fit at once; they share out the tiles."""
    merge_block: int = 1024
    """Segments that a program of the second kernel takes at once."""
    drawn_merge_block: int = 8192
    """The same where a row draws among all tokens: its segments are small then, and one program takes them all."""

    def shared_bytes(self, element_bytes: int) -> int:
        """Shared memory of a program's loads in flight."""
        rows = self.block_places + self.block_rows
        return rows * self.block_hidden * element_bytes * self.num_stages


# By rows of hidden states, the fastest on one H200 of 6 to 8 candidates each (2048 x 128,256, bfloat16): 100 to 200 KiB in
# flight on each multiprocessor, tiles so tall that reading the hidden states again stays below half of the LM head.
PLAIN = {
    16: Tiles(128, 16, 128, num_warps=4, num_stages=3, programs_per_sm=2),
    32: Tiles(128, 32, 64, num_warps=4, num_stages=5, programs_per_sm=2),
    64: Tiles(128, 64, 64, num_warps=4, num_stages=4, programs_per_sm=2),
    128: Tiles(256, 128, 64, num_warps=8, num_stages=4, programs_per_sm=1),
}
# Sets have smaller segments, so a tile leaves more numbers: at 128 rows twice the warps keep them in registers.
SCATTERED = PLAIN | {
    128: Tiles(256, 128, 64, num_warps=16, num_stages=4, programs_per_sm=1),
}
# Few places: small tiles, so that many multiprocessors share them, and few long steps, since latency is all there is.
FEW_PLACES = 8192
FEW = dict.fromkeys(PLAIN, Tiles(32, 16, 512, num_warps=4, num_stages=3, programs_per_sm=1)) | {
    128: Tiles(32, 32, 256, num_warps=4, num_stages=4, programs_per_sm=1),
}
FEW_SEGMENTS = 64
"""Up to so many, one warp of the merge takes a class in."""
DRAWN_WEIGHTS = 4096
"""Weights that a program takes at once, where it computes the logits of one segment again."""
_SCRATCH_BYTES = 16 * 1024
"""Shared memory that reductions take besides."""
_CPU_SMS = 3
"""In the interpreter: few, so that a program has several tiles."""


def tiles_for(num_rows: int, num_places: int, segment: int | None, element_bytes: int) -> Tiles:
    """Tiles for a shape; `segment` is that of the sets, if any."""
    large = PLAIN if segment is None else SCATTERED
    table = FEW if num_places <= FEW_PLACES else large
    tiles = table[min(128, max(16, triton.next_power_of_2(num_rows)))]
    if element_bytes == 4:  # products of float32 need their operands in registers
        tiles = replace(
            tiles, block_places=64, block_rows=min(64, tiles.block_rows), block_hidden=32
        )
    return replace(tiles, block_places=max(tiles.block_places, segment or 32))


def constrained_scoring_triton(
    hidden_NH: Tensor,
    lm_head_VH: Tensor,
    mask_NW: Tensor | None,
    sets: TokenSets | None,
    set_N: Tensor | None,
    extra_NX: Tensor | None,
    noise: Noise | None,
    tiles: Tiles | None = None,
) -> tuple[Tensor | None, ...]:
    """The fields of `Scored`. `tiles` is for measuring."""
    if not hidden_NH.is_cuda and isinstance(score_segments, triton.JITFunction):
        raise ValueError(
            "impl='triton' needs tensors on a GPU; without one set TRITON_INTERPRET=1 before triton is imported"
        )
    device, (num_rows, hidden_size), vocab_size = hidden_NH.device, hidden_NH.shape, len(lm_head_VH)
    has_sets, has_noise = sets is not None, noise is not None
    num_places = vocab_size if sets is None else len(sets.token_S)
    segment = None if sets is None else sets.segment
    if tiles is None:
        tiles = tiles_for(num_rows, num_places, segment, hidden_NH.element_size())
    num_sms, max_shared_bytes = _limits(device)
    tiles = _fitting(tiles, hidden_NH.element_size(), max_shared_bytes)
    if segment is None:
        segment = DRAWN_SEGMENT if has_noise else tiles.block_places
    num_segments = triton.cdiv(num_places, segment)
    num_classes = 0 if sets is None else sets.num_classes
    num_extra = 0 if extra_NX is None else extra_NX.shape[1]
    floats, ids = (
        {"dtype": torch.float32, "device": device},
        {"dtype": torch.long, "device": device},
    )
    token_N, log_prob_N = torch.empty(num_rows, **ids), torch.empty(num_rows, **floats)
    lse_N, all_lse_N = torch.empty(num_rows, **floats), torch.empty(num_rows, **floats)
    class_token_NC = class_score_NC = class_logit_NC = None
    if has_sets:
        shape = (num_rows, num_classes + num_extra)
        class_token_NC, class_score_NC = torch.empty(shape, **ids), torch.empty(shape, **floats)
        class_logit_NC = torch.empty(shape, **floats) if has_noise else class_score_NC
    found = (
        token_N,
        log_prob_N,
        lse_N,
        all_lse_N if mask_NW is None else None,
        class_score_NC,
        class_token_NC,
        class_logit_NC,
    )
    if num_rows == 0:
        return found

    top_NT, total_NT = (torch.empty((num_rows, num_segments), **floats) for _ in range(2))
    best_NT = None
    if has_sets or not has_noise:
        best_NT = torch.empty((num_rows, num_segments), dtype=torch.int32, device=device)
    hidden_NH = hidden_NH if hidden_NH.stride(1) == 1 else hidden_NH.contiguous()
    mask_NW = mask_NW if mask_NW is None or mask_NW.stride(1) == 1 else mask_NW.contiguous()
    extra_NX = extra_NX if extra_NX is None or extra_NX.stride(1) == 1 else extra_NX.contiguous()
    seed_N = None if noise is None else noise.seed_N.contiguous()
    temperature_N = None if noise is None else noise.temperature_N.contiguous()
    sizes = (
        num_places,
        0 if mask_NW is None else mask_NW.shape[1],
        hidden_NH.stride(0),
        lm_head_VH.stride(0),
        0 if mask_NW is None else mask_NW.stride(0),
    )
    num_tiles = triton.cdiv(num_places, tiles.block_places) * triton.cdiv(
        num_rows, tiles.block_rows
    )
    is_single = sets is not None and sets.is_single and (segment == 1 or not has_noise)
    launch = chained(can_chain(device))
    with torch.cuda.device_of(hidden_NH):
        if num_tiles:
            score_segments[(min(num_tiles, num_sms * tiles.programs_per_sm),)](
                hidden_NH,
                lm_head_VH,
                None if sets is None else sets.token_S,
                mask_NW,
                temperature_N,
                best_NT,
                top_NT,
                total_NT,
                num_rows,
                num_segments,
                *sizes,
                HIDDEN_SIZE=hidden_size,
                HAS_TOKENS=has_sets,
                HAS_MASK=mask_NW is not None,
                HAS_NOISE=has_noise,
                SEGMENT=segment,
                BLOCK_PLACES=tiles.block_places,
                BLOCK_ROWS=tiles.block_rows,
                BLOCK_HIDDEN=tiles.block_hidden,
                **launch,
                num_warps=tiles.num_warps,
                num_stages=tiles.num_stages,
            )
        merge_segments[(num_rows, 1 if is_single else num_classes + 1)](
            best_NT,
            top_NT,
            total_NT,
            hidden_NH,
            lm_head_VH,
            None if sets is None else sets.token_S,
            mask_NW,
            set_N if set_N is None else set_N.contiguous(),
            None if sets is None else sets.first_AC,
            None if sets is None else sets.entry_E,
            extra_NX,
            seed_N,
            temperature_N,
            token_N,
            log_prob_N,
            lse_N,
            all_lse_N,
            class_score_NC,
            class_token_NC,
            class_logit_NC,
            num_segments,
            num_classes,
            num_extra,
            vocab_size,
            *sizes,
            0 if extra_NX is None else extra_NX.stride(0),
            HIDDEN_SIZE=hidden_size,
            HAS_SETS=has_sets,
            HAS_MASK=mask_NW is not None,
            HAS_EXTRA=extra_NX is not None,
            HAS_NOISE=has_noise,
            IS_SINGLE=is_single,
            SEGMENT=segment,
            **launch,
            BLOCK_HIDDEN=min(DRAWN_WEIGHTS // segment, triton.next_power_of_2(hidden_size)),
            BLOCK_EXTRA=triton.next_power_of_2(max(1, num_extra)),
            **_merging(num_segments, best_NT is None, has_noise, tiles),
        )
    return found


def _merging(num_segments: int, takes_all: bool, has_noise: bool, tiles: Tiles) -> dict[str, int]:
    """How a program of the second kernel is cut."""
    block = min(
        tiles.drawn_merge_block if takes_all else tiles.merge_block,
        triton.next_power_of_2(max(32, num_segments)),
    )
    if not has_noise:
        return {"BLOCK": block, "num_warps": 1 if num_segments <= FEW_SEGMENTS else 4}
    return {"BLOCK": block, "num_warps": max(4, min(16, block // 512))}


def _fitting(tiles: Tiles, element_bytes: int, max_shared_bytes: int) -> Tiles:
    """The same with fewer or shorter steps, where a GPU has less shared memory."""
    while tiles.shared_bytes(element_bytes) + _SCRATCH_BYTES > max_shared_bytes:
        if tiles.num_stages > 2:
            tiles = replace(tiles, num_stages=tiles.num_stages - 1)
        elif tiles.block_hidden > 16:
            tiles = replace(tiles, block_hidden=tiles.block_hidden // 2)
        else:
            break
    return tiles


@cache
def _limits(device: torch.device) -> tuple[int, int]:
    """Multiprocessors, and bytes of shared memory that one program may take."""
    if device.type != "cuda":
        return _CPU_SMS, 227 * 1024
    properties = torch.cuda.get_device_properties(device)
    shared_bytes = getattr(properties, "shared_memory_per_block_optin", 64 * 1024)
    return properties.multi_processor_count, shared_bytes
