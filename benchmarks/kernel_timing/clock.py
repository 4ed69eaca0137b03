"""How long work takes on a device, how long its launch keeps the host busy, and how much memory it takes besides."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch

Work = Callable[[int], object]
"""Runs on the inputs of that number, counted around."""

SHORT_US = 500.0
"""Calls that take less are timed in a graph: outside of one there are gaps between their launches."""
GRAPH_US = 10_000.0
"""A graph of short calls runs about so long, as far as the next two bounds let it."""
MIN_GRAPH_CALLS, MAX_GRAPH_CALLS = 10, 100
CACHE_BYTES = 64 * 2**20
"""A little more than the L2 cache of the largest Hopper GPU (60 MB, as torch reports it)."""
MAX_INPUTS = 256
SUSTAINED_S, SUSTAINED_CALLS = 1.5, 50
"""How long products are timed one behind the other, the second half of which counts; so many between two looks at the clock."""
MIB = 2**20


@dataclass(frozen=True, slots=True)
class Time:
    """Microseconds are those of the device, `us` the median of the repeats; on a CPU those of the clock."""

    us: float
    host_us: float
    """What a call takes until it returns, the device not waited for."""
    extra_mib: float
    """Most memory that was taken during a call, its results included; 0 on a CPU."""
    p10_us: float = 0.0
    p90_us: float = 0.0
    how: str = "clock"
    """"graph": many calls in a CUDA graph. "stream": calls one behind the other, the host ahead. "clock": a CPU's."""


def inputs_beyond_cache(num_bytes: float) -> int:
    """How many inputs of that size take turns, so that none is still in the L2 cache when it is read again."""
    return max(1, min(MAX_INPUTS, math.ceil(3 * CACHE_BYTES / num_bytes)))


def time_work(work: Work, device: torch.device, num_inputs: int, repeats: int = 15) -> Time:
    """Time `work` on inputs that take turns."""
    for idx in range(max(3, num_inputs)):
        work(idx)
    if device.type != "cuda":
        times = _clock_us(work, repeats)
        us, *spread = _median_and_spread(times)
        return Time(us, us, 0.0, *spread)
    extra_mib = _extra_mib(work)
    rough_us = statistics.median(_stream_us(work, 4))
    host_us = _host_us(work, 20 if rough_us < 10 * SHORT_US else 3)
    # Where the host is nearly as slow as the stream of calls, launches are part of what that would time.
    is_short = rough_us < max(SHORT_US, 2 * host_us)
    how, times = "graph", None
    if is_short and not _waits_for_device(work):
        times = _graph_us(work, num_inputs, rough_us, repeats)
    if times is None:
        how, times = "stream", _stream_us(work, repeats)
    us, *spread = _median_and_spread(times)
    return Time(us, host_us, extra_mib, *spread, how)


def _median_and_spread(times: Sequence[float]) -> tuple[float, float, float]:
    """The median, and the 10th and 90th percentile."""
    low, *_, high = statistics.quantiles(times, n=10, method="inclusive")
    return statistics.median(times), low, high


def _clock_us(work: Work, repeats: int) -> list[float]:
    times = []
    for idx in range(repeats):
        began = time.perf_counter()
        work(idx)
        times.append(1e6 * (time.perf_counter() - began))
    return times


def _stream_us(work: Work, repeats: int) -> list[float]:
    """Of each call on the device, while the host runs ahead: nothing is waited for in between."""
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(repeats + 1)]
    torch.cuda.synchronize()
    work(0)  # the device works on it while the first of the others is launched
    for idx, mark in enumerate(marks):
        mark.record()
        if idx < repeats:
            work(idx)
    torch.cuda.synchronize()
    return [1e3 * a.elapsed_time(b) for a, b in pairwise(marks)]


def _graph_us(work: Work, num_inputs: int, rough_us: float, repeats: int) -> list[float] | None:
    """Of a call on the device, the mean of each replay; None where no graph can hold it."""
    num_calls = min(MAX_GRAPH_CALLS, max(MIN_GRAPH_CALLS, int(GRAPH_US / rough_us)))
    num_calls = max(num_calls, num_inputs)
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
    try:
        with torch.cuda.graph(graph):
            kept = [work(idx) for idx in range(num_calls)]
    except RuntimeError:
        torch.cuda.set_stream(stream)  # a capture that fails leaves its own in place
        torch.cuda.synchronize()
        return None
    times = _stream_us(lambda _: graph.replay(), repeats)
    del kept
    return [us / num_calls for us in times]


def _waits_for_device(work: Work) -> bool:
    """Whether a call waits for the device, as none in a graph may."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        work(0)
    except RuntimeError as problem:
        if "synchroniz" not in str(problem):
            raise
        return True
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return False


def _host_us(work: Work, num_calls: int) -> float:
    """The median, so that a launch that waits for room in the queue does not count."""
    torch.cuda.synchronize()
    times = _clock_us(work, num_calls)
    torch.cuda.synchronize()
    return statistics.median(times)


def _extra_mib(work: Work) -> float:
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    work(0)
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / MIB


@dataclass(frozen=True, slots=True)
class Ceilings:
    """What the device can do at most, measured."""

    flops: float
    """Floating-point operations a second of a large bfloat16 matrix product, one behind the other for a while."""
    bytes: float
    """Bytes a second of a large copy, read and written."""
    burst_flops: float
    """Those of the first products behind a pause, before the device comes to the limit of its power."""

    def floor_us(self, num_flops: float, num_bytes: float) -> float:
        return 1e6 * max(num_flops / self.flops, num_bytes / self.bytes)


def measure_ceilings(device: torch.device) -> Ceilings:
    """Two seconds on a GPU; on a CPU the numbers of small operands, for tests."""
    is_cuda = device.type == "cuda"
    size, num_bytes = (8192, 2**31) if is_cuda else (128, 2**20)
    dtype = torch.bfloat16 if is_cuda else torch.float32
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    source = torch.randint(0, 255, (num_bytes,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copied = time_work(lambda _: target.copy_(source), device, 1)
    times = [time_work(lambda _: torch.mm(a, b), device, 1).us]
    began = time.perf_counter()
    while is_cuda and time.perf_counter() - began < SUSTAINED_S:
        times += _stream_us(lambda _: torch.mm(a, b), SUSTAINED_CALLS)
    sustained_us = statistics.median(times[len(times) // 2 :])
    product_flops = 2e6 * size**3
    return Ceilings(
        product_flops / sustained_us, 2e6 * num_bytes / copied.us, product_flops / times[0]
    )


def taking_turns(calls: Sequence[Callable[[], object]]) -> Work:
    """One call after the other."""
    return lambda idx: calls[idx % len(calls)]()
