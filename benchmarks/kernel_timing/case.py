"""What is timed: an op at a shape, its peers there, and what it has to reach."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from kernel_timing.clock import Ceilings, Time, Work, time_work

OURS = "smoldiff"


@dataclass(frozen=True)
class Target:
    """A bound for an op at a shape."""

    against: str
    """A peer's name, "floor", "us" (microseconds) or "MiB" (memory)."""
    bound: float
    is_speed: bool = False
    """Whether the op must be at least `bound` times as fast as the peer; else at most `bound` times what it is held against."""

    def __str__(self) -> str:
        if self.against in ("us", "MiB"):
            return f"<= {self.bound:g} {self.against}"
        return f"{'>=' if self.is_speed else '<='} {self.bound:g}x {self.against}"


@dataclass(frozen=True)
class Case:
    """An op at a shape. `make` puts the operands on a device and gives what is run, by name; None for a peer that is missing."""

    op: str
    shape: str
    num_flops: float
    num_bytes: float
    make: Callable[[torch.device], Mapping[str, Work | None]]
    targets: Sequence[Target] = ()
    num_inputs: int = 1


@dataclass
class Measured:
    """A case's times."""

    case: Case
    times: dict[str, Time]
    missing: dict[str, str] = field(default_factory=dict)
    """Peers without a time, and why."""


def measure(case: Case, device: torch.device) -> Measured:
    found = Measured(case, {})
    for name, work in case.make(device).items():
        if work is None:
            found.missing[name] = "not installed"
            continue
        try:
            found.times[name] = time_work(work, device, case.num_inputs)
        except Exception as problem:
            found.missing[name] = said(problem)
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return found


def said(problem: Exception) -> str:
    return f"{type(problem).__name__}: {problem}".splitlines()[0][:120]


def rows(found: Measured, ceilings: Ceilings) -> list[dict[str, Any]]:
    """A row for each implementation, ours first, with the ratio of its time to the floor and to ours."""
    case, ours = found.case, found.times.get(OURS)
    floor_us = ceilings.floor_us(case.num_flops, case.num_bytes)
    lines: list[dict[str, Any]] = []
    for name, time in found.times.items():
        lines.append(
            {
                "benchmark": "kernels",
                "op": case.op,
                "shape": case.shape,
                "impl": name,
                "us": round(time.us, 3),
                "p10_us": round(time.p10_us, 3),
                "p90_us": round(time.p90_us, 3),
                "how": time.how,
                "num_inputs": case.num_inputs,
                "host_us": round(time.host_us, 1),
                "extra_mib": round(time.extra_mib, 1),
                "flops": case.num_flops,
                "bytes": case.num_bytes,
                "floor_us": round(floor_us, 3),
                "over_floor": round(time.us / floor_us, 3),
                "over_ours": round(time.us / ours.us, 3) if ours else None,
                "targets": [
                    {
                        "target": str(t),
                        "value": value(t, found, floor_us),
                        "is_met": is_met(t, found, floor_us),
                    }
                    for t in case.targets
                ]
                if name == OURS
                else [],
            }
        )
    lines += [
        {
            "benchmark": "kernels",
            "op": case.op,
            "shape": case.shape,
            "impl": name,
            "us": None,
            "problem": why,
        }
        for name, why in found.missing.items()
    ]
    return lines


def value(target: Target, found: Measured, floor_us: float) -> float | None:
    """What is held against the bound; None where the peer has no time."""
    ours = found.times[OURS]
    if target.against == "us":
        return round(ours.us, 3)
    if target.against == "MiB":
        return round(ours.extra_mib, 1)
    other_us = floor_us if target.against == "floor" else None
    if target.against in found.times:
        other_us = found.times[target.against].us
    if other_us is None:
        return None
    return round(other_us / ours.us if target.is_speed else ours.us / other_us, 3)


def is_met(target: Target, found: Measured, floor_us: float) -> bool | None:
    reached = value(target, found, floor_us)
    if reached is None:
        return None
    return reached >= target.bound if target.is_speed else reached <= target.bound
