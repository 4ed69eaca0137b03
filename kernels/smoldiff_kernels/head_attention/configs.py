"""Which tiles a shape gets, and over how many programs its keys are split."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import torch

# Shapes: M rows of a tile (positions times query heads of a key/value head), N keys of a tile, E head width.

LOG2_E = math.log2(math.e)
FULL = 0.75
"""Share of the multiprocessors that must have a large tile before keys are left whole."""


class Tiles(NamedTuple):
    block_m: int
    block_n: int
    num_warps: int
    num_stages: int
    has_descriptors: bool = False
    """Keys and values come by the copy engine (TMA): fewer registers, but some time before the first tile."""
    is_chained: bool = True
    """Where the GPU can, a launch begins while the one in front of it still runs. Of the forward pass."""


class Device(NamedTuple):
    num_sms: int
    is_hopper: bool
    """Has 227 KiB of shared memory for a program, warp-group products and the copy engine."""


class Work(NamedTuple):
    """What is known of a call before it runs."""

    num_pairs: int
    """Rows times key/value heads."""
    num_queries: int
    """Most positions of a row times query heads of a key/value head."""
    num_keys: tuple[int, int]
    """Most of the context and of the template."""
    block_e: int
    is_float32: bool
    has_groups: bool
    has_lengths: bool = False
    """Whether rows may differ in length."""

    def num_key_tiles(self, block_n: int) -> int:
        """Of the context, then of the template."""
        return sum(cdiv(num, block_n) for num in self.num_keys)

    def num_splits(self, block_n: int, tiles_per_split: int) -> int:
        """Over how many programs the keys are split; 1 where `tiles_per_split` is 0."""
        return cdiv(self.num_key_tiles(block_n), tiles_per_split) if tiles_per_split else 1

    def tiles_per_split(self, block_n: int, num_splits: int) -> int:
        """How many tiles of keys each of them takes in; 0 where one takes all."""
        return cdiv(self.num_key_tiles(block_n), num_splits) if num_splits > 1 else 0

    def fills(self, block_m: int, device: Device, waves: float = FULL) -> bool:
        """Whether tiles of so many queries leave few multiprocessors without one, or go round so many times."""
        return self.num_pairs * cdiv(self.num_queries, block_m) >= waves * device.num_sms


# By head width, for bfloat16 and float16: a full GPU, full rows in waves, the same with groups, few queries. Those for 128 are
# the fastest on one H200 of 9 to 16 candidates each, at the shapes of benchmarks/bench_kernels.py; the others come from the
# compiler's report for sm_90a and sm_86 (registers, shared memory).
HOPPER_LARGE = {
    64: Tiles(128, 128, 8, 3, True),
    128: Tiles(64, 64, 4, 3),
    256: Tiles(128, 64, 8, 2),
}
HOPPER_WAVES = HOPPER_LARGE | {128: Tiles(128, 128, 8, 3, True)}
HOPPER_GROUPS = {
    64: Tiles(128, 64, 8, 3, True),
    128: Tiles(128, 64, 8, 2, True),
    256: Tiles(128, 32, 8, 2),
}
HOPPER_SMALL = {64: Tiles(64, 64, 4, 3), 128: Tiles(64, 64, 4, 3), 256: Tiles(64, 32, 4, 2)}
HOPPER_QUERY_GRADIENT = {
    64: Tiles(128, 64, 8, 2),
    128: Tiles(128, 128, 8, 2),
    256: Tiles(64, 32, 8, 1),
}
HOPPER_KEY_GRADIENT = {
    64: Tiles(64, 128, 8, 2),
    128: Tiles(64, 128, 8, 2),
    256: Tiles(32, 64, 8, 1),
}
# Where the larger ones leave multiprocessors idle; not yet by times.
HOPPER_FEW_QUERY_GRADIENT = {
    64: Tiles(64, 64, 4, 2),
    128: Tiles(64, 64, 4, 2),
    256: Tiles(64, 32, 8, 1),
}
HOPPER_FEW_KEY_GRADIENT = {
    64: Tiles(64, 32, 4, 2),
    128: Tiles(64, 32, 4, 2),
    256: Tiles(32, 32, 4, 1),
}
# Others: at most 99 KiB of shared memory (sm_86, sm_89).
OTHER_FORWARD = {64: Tiles(64, 64, 4, 2), 128: Tiles(64, 32, 4, 2), 256: Tiles(64, 32, 4, 1)}
OTHER_GRADIENT = {64: Tiles(32, 64, 4, 2), 128: Tiles(32, 32, 4, 2), 256: Tiles(32, 32, 4, 1)}
# Without tensor cores, which round float32 to 10 bits of mantissa.
FLOAT32 = {64: Tiles(32, 32, 4, 1), 128: Tiles(32, 32, 8, 1), 256: Tiles(16, 16, 4, 1)}
MAX_SPLITS = 64
MIN_TILES_A_SPLIT = 3
"""Fewer do not hide the first load behind a product."""
PROGRAMS_AN_SM = 2
"""How many small programs of 64 rows share a multiprocessor without a second wave."""
WAVES = 2
"""Of programs with the largest tiles, one a multiprocessor: from so many on these do not wait for a last few."""
MAX_WAVE_QUERIES = 512
"""At twice as many (T 256, C 1024, B 64) the largest tiles took 437 to 505 us, the smaller ones 451."""


@lru_cache
def device_of(device: torch.device) -> Device:
    if device.type != "cuda":
        return Device(num_sms=8, is_hopper=False)  # Triton's interpreter
    found = torch.cuda.get_device_properties(device)
    is_hopper = torch.version.hip is None and found.major == 9
    return Device(found.multi_processor_count, is_hopper)


@lru_cache(maxsize=1024)
def forward_plan(work: Work, device: Device) -> tuple[Tiles, int]:
    """The tiles, and the number of tiles of keys that one program takes in; 0 where it takes all."""
    large, small = _forward_tiles(work, device)
    if _has_waves(work, device):
        return HOPPER_WAVES[max(work.block_e, 64)], 0
    if work.fills(large.block_m, device):
        return large, 0
    return small, _tiles_per_split(work, small, device)


def _has_waves(work: Work, device: Device) -> bool:
    """Whether full rows go round the multiprocessors several times."""
    is_even = not (work.is_float32 or work.has_groups or work.has_lengths)
    if not (is_even and device.is_hopper and work.num_queries <= MAX_WAVE_QUERIES):
        return False
    return work.fills(HOPPER_WAVES[max(work.block_e, 64)].block_m, device, WAVES)


def whole_plan(work: Work, device: Device) -> tuple[Tiles, int]:
    """The same where one program must take all keys, which are few."""
    return _forward_tiles(work, device)[0], 0


def _tiles_per_split(work: Work, tiles: Tiles, device: Device) -> int:
    num_programs = work.num_pairs * cdiv(work.num_queries, tiles.block_m)
    num_splits = min(
        MAX_SPLITS,
        work.num_key_tiles(tiles.block_n) // MIN_TILES_A_SPLIT,
        PROGRAMS_AN_SM * device.num_sms // num_programs,
    )
    return work.tiles_per_split(tiles.block_n, num_splits)


def _forward_tiles(work: Work, device: Device) -> tuple[Tiles, Tiles]:
    width = max(work.block_e, 64)
    if work.is_float32:
        return FLOAT32[width], FLOAT32[width]
    if not device.is_hopper:
        return OTHER_FORWARD[width], OTHER_FORWARD[width]
    large = HOPPER_GROUPS if work.has_groups else HOPPER_LARGE
    return large[width], HOPPER_SMALL[width]


class GradientPlan(NamedTuple):
    for_queries: Tiles
    tiles_per_split: int
    """Tiles of keys that one program of the queries' gradient takes in; 0 where it takes all."""
    for_keys: Tiles


@lru_cache(maxsize=1024)
def gradient_plan(work: Work, device: Device) -> GradientPlan:
    """Tiles of the queries' gradient, and of that of keys and values."""
    (many_queries, few_queries), (many_keys, few_keys) = _gradient_tiles(work, device)
    num_key_programs = work.num_pairs * work.num_key_tiles(many_keys.block_n)
    for_keys = many_keys if num_key_programs >= FULL * device.num_sms else few_keys
    if work.fills(many_queries.block_m, device):
        return GradientPlan(many_queries, 0, for_keys)
    return GradientPlan(few_queries, _tiles_per_split(work, few_queries, device), for_keys)


def _gradient_tiles(work: Work, device: Device) -> tuple[tuple[Tiles, Tiles], tuple[Tiles, Tiles]]:
    """Of both gradients, for a full GPU and for one with few programs."""
    width = max(work.block_e, 64)
    if work.is_float32:
        return ((FLOAT32[width],) * 2,) * 2
    if not device.is_hopper:
        return ((OTHER_GRADIENT[width],) * 2,) * 2
    return (
        (HOPPER_QUERY_GRADIENT[width], HOPPER_FEW_QUERY_GRADIENT[width]),
        (HOPPER_KEY_GRADIENT[width], HOPPER_FEW_KEY_GRADIENT[width]),
    )


def cdiv(a: int, b: int) -> int:
    """Triton's own takes microseconds outside of a kernel, as its next power of two does."""
    return -(-a // b)


def next_power_of_2(num: int) -> int:
    return 1 << (num - 1).bit_length()
