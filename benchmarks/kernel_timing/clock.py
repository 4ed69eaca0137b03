"""How long work takes on a device, how long its launch keeps the host busy, and how much memory it takes besides."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

Work = Callable[[int], object]
"""Runs on the inputs of that number, counted around."""

GRAPH_MS = 1.0
"""A graph of short calls runs at least so long."""
SHORT_MS = 0.5
"""Calls that are shorter are timed in a graph: outside of one their launches would be timed."""
MAX_GRAPH_CALLS = 256
MIB = 2**20


@dataclass(frozen=True, slots=True)
class Time:
    """Microseconds are those of the device, the median of the repeats; on a CPU those of the clock."""

    us: float
    host_us: float
    """What a call takes until it returns, the device not waited for."""
    extra_mib: float
    """Most memory that was taken during a call, its results included; 0 on a CPU."""


def time_work(work: Work, device: torch.device, num_inputs: int, repeats: int = 15) -> Time:
    """Time `work` on inputs that take turns."""
    for idx in range(max(3, num_inputs)):
        work(idx)
    if device.type != "cuda":
        us = _median_us(work, repeats)
        return Time(us, us, 0.0)
    extra_mib = _extra_mib(work)
    rough_ms = _event_ms(work, 3) / 3
    if rough_ms < SHORT_MS:
        try:
            us = _graph_us(work, num_inputs, rough_ms, repeats)
        except RuntimeError:  # what cannot be captured is timed as a stream of calls
            torch.cuda.synchronize()
            us = 1e3 * statistics.median(_event_ms(work, 20) / 20 for _ in range(repeats))
    else:
        us = 1e3 * statistics.median(_event_ms(work, 1) for _ in range(repeats))
    return Time(us, _host_us(work, 20 if rough_ms < SHORT_MS else 3), extra_mib)


def _median_us(work: Work, repeats: int) -> float:
    times = []
    for idx in range(repeats):
        began = time.perf_counter()
        work(idx)
        times.append(1e6 * (time.perf_counter() - began))
    return statistics.median(times)


def _event_ms(work: Work, num_calls: int) -> float:
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    begin.record()
    for idx in range(num_calls):
        work(idx)
    end.record()
    torch.cuda.synchronize()
    return float(begin.elapsed_time(end))


def _graph_us(work: Work, num_inputs: int, rough_ms: float, repeats: int) -> float:
    num_calls = min(MAX_GRAPH_CALLS, max(num_inputs, int(GRAPH_MS / max(rough_ms, 1e-3)) + 1))
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = [work(idx) for idx in range(num_calls)]
    graph.replay()
    us = 1e3 * statistics.median(_event_ms(lambda _: graph.replay(), 1) for _ in range(repeats))
    del kept
    return us / num_calls


def _host_us(work: Work, num_calls: int) -> float:
    torch.cuda.synchronize()
    began = time.perf_counter()
    for idx in range(num_calls):
        work(idx)
    took = time.perf_counter() - began
    torch.cuda.synchronize()
    return 1e6 * took / num_calls


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
    """Floating-point operations a second of a large bfloat16 matrix product."""
    bytes: float
    """Bytes a second of a large copy, read and written."""

    def floor_us(self, num_flops: float, num_bytes: float) -> float:
        return 1e6 * max(num_flops / self.flops, num_bytes / self.bytes)


def measure_ceilings(device: torch.device) -> Ceilings:
    """A second on a GPU; on a CPU the numbers of small operands, for tests."""
    is_cuda = device.type == "cuda"
    size, num_bytes = (8192, 2**31) if is_cuda else (128, 2**20)
    dtype = torch.bfloat16 if is_cuda else torch.float32
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    source = torch.randint(0, 255, (num_bytes,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    product = time_work(lambda _: torch.mm(a, b), device, 1)
    copied = time_work(lambda _: target.copy_(source), device, 1)
    return Ceilings(2e6 * size**3 / product.us, 2e6 * num_bytes / copied.us)


def taking_turns(calls: Sequence[Callable[[], object]]) -> Work:
    """One call after the other."""
    return lambda idx: calls[idx % len(calls)]()
