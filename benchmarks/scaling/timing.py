"""Times of steps, and numbers that several processes agree on."""

import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class Stopwatch:
    """Times steps by events of the device, which nothing waits for, and their sum by the wall clock between two waits."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        if dist.is_initialized():
            dist.barrier()
        self._wait()
        self.began = time.perf_counter()
        self.marks: list[Any] = [self._now()]
        self.wall_s = 0.0

    def mark(self) -> None:
        self.marks.append(self._now())

    def stop(self) -> None:
        self._wait()
        self.wall_s = time.perf_counter() - self.began

    def steps_ms(self) -> list[float]:
        """From each mark to the next."""
        pairs = zip(self.marks, self.marks[1:], strict=False)
        if self.device.type == "cuda":
            return [a.elapsed_time(b) for a, b in pairs]
        return [1e3 * (b - a) for a, b in pairs]

    def _now(self) -> Any:
        if self.device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def percentiles(times: Sequence[float]) -> tuple[float, float, float]:
    """The 10th, 50th and 90th, between the nearest two."""
    low, *_, high = statistics.quantiles(times, n=10, method="inclusive")
    return low, statistics.median(times), high


def whole_sum(value: Tensor, device: torch.device) -> Tensor:
    """The sum over all processes."""
    value = value.to(device)
    if dist.is_initialized():
        dist.all_reduce(value)
    return value


def whole_max(value: float, device: torch.device) -> float:
    """The largest of all processes."""
    most = torch.tensor(value, dtype=torch.float64, device=device)
    if dist.is_initialized():
        dist.all_reduce(most, dist.ReduceOp.MAX)
    return float(most)
