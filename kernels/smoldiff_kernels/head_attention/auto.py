"""Which implementation `auto` takes on a GPU: the fastest of `benchmarks/results/kernels.jsonl`.

One H200, bfloat16, 16 query heads, 4 for keys, width 128; full rows without groups, forward, us:

    T 128, C 2048, B 32     triton 167    SDPA behind the join 200    cuDNN, then triton 162
    T 256, C 1024, B 64     triton 451    SDPA behind the join 385    cuDNN, then triton 420

The join is read and written once for all queries of a row, the products are made for each of them; so from some queries on
cuDNN's kernel, which overlaps its products with the softmax, makes up for it. To go on from cuDNN over the template reads and
writes each output once more: at B 32 it takes 32 us behind 130, at B 64 160 behind 260. 162 and 167 are nearer than two runs of
one of them (165 to 176), so there it stays with one library fewer. Where rows have lengths or groups SDPA needs a
mask and takes many times as long; with gradients it does not give the same bits in every run.
"""

from __future__ import annotations

from typing import Literal

from smoldiff_kernels.head_attention.configs import Device, Work

MIN_QUERIES = 1024
"""Positions of a row times query heads of a key/value head, from which SDPA is faster on a full GPU."""
ROWS_A_PROGRAM = 128


def chosen(work: Work, device: Device, has_gradient: bool) -> Literal["triton", "sdpa"]:
    """For a call on a GPU."""
    is_plain = not (work.has_lengths or work.has_groups or has_gradient or work.is_float32)
    has_many = work.num_queries >= MIN_QUERIES and work.fills(ROWS_A_PROGRAM, device)
    return "sdpa" if device.is_hopper and is_plain and has_many else "triton"
