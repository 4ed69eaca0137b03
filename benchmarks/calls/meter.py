"""A head's passes and the time spent in it, measured from outside."""

import time
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from typing import Any

import torch

from smoldiff.head.model import DiffusionHead

METERED = ("remember", "encode", "decide", "scores")
PASS = "encode"


@dataclass(slots=True)
class Meter:
    """What a head has done since the last `reset`. The guess of the tool, before the prefill, is not in it."""

    num_passes: int = 0
    head_ms: float = 0.0

    def reset(self) -> None:
        self.num_passes, self.head_ms = 0, 0.0

    def timed(self, name: str, method: Callable[..., Any], device: torch.device) -> Any:
        """The method, its time added up; on a GPU until its work is done, not until it is queued."""

        def call(*args: Any, **options: Any) -> Any:
            began = time.perf_counter()
            result = method(*args, **options)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            self.head_ms += 1e3 * (time.perf_counter() - began)
            self.num_passes += name == PASS
            return result

        return call


def metered(head: DiffusionHead) -> tuple[DiffusionHead, Meter]:
    """A head of the same weights with a meter on it; the head itself stays as it is."""
    twin, meter = copy(head), Meter()
    device = next(head.parameters()).device
    for name in METERED:
        setattr(twin, name, meter.timed(name, getattr(head, name), device))
    return twin, meter
