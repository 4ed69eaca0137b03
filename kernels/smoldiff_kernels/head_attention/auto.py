"""Which implementation `auto` takes on a GPU: the fastest of `benchmarks/results/kernels.jsonl`.

One H200, bfloat16, 16 query heads, 4 for keys, width 128; full rows without groups, forward, us:

    T 128, C 2048, B 32     triton 183    SDPA behind the join 200
    T 256, C 1024, B 64     triton 453    SDPA behind the join 387

The join is read and written once for all queries of a row, the products are made for each of them; so from some queries on
cuDNN's kernel, which overlaps its products with the softmax, makes up for it. Where rows have lengths or groups SDPA needs a
mask and takes many times as long; with gradients it does not give the same bits in every run.
"""

from __future__ import annotations

from typing import Literal

from smoldiff_kernels.head_attention.configs import Device, Work, cdiv

MIN_QUERIES = 512
"""Positions of a row times query heads of a key/value head, from which cuDNN's kernel pays."""
ROWS_A_PROGRAM = 128
MIN_WAVES = 2
"""How often tiles of so many queries fill the GPU: with fewer, the second launch costs what the first one saves."""
MAX_WIDTH = 128


def chosen(work: Work, device: Device, has_lengths: bool) -> Literal["triton", "cudnn"]:
    """For a call on a GPU."""
    is_plain = not (has_lengths or work.has_groups or work.is_float32)
    num_programs = work.num_pairs * cdiv(work.num_queries, ROWS_A_PROGRAM)
    pays = (
        work.num_queries >= MIN_QUERIES
        and num_programs >= MIN_WAVES * device.num_sms
        and work.num_keys[0] > work.num_keys[1]
        and work.block_e <= MAX_WIDTH
    )
    return "cudnn" if device.is_hopper and is_plain and pays else "triton"
