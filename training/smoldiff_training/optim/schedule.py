"""The learning rate's factor as a function of the share of the budget that is used. Nothing here has a state.

`used` and the factors are shares, 0 to 1; `final` is where a factor ends.
"""

from __future__ import annotations

import math
from typing import Protocol

FIRST = 1e-4  # of the budget: the first step of a warm-up is not lost to a rate of zero
ONE_CYCLE_START = 1 / 25  # as torch's OneCycleLR starts


class Budget(Protocol):
    """Limits of a run, 0 where there is none."""

    @property
    def max_steps(self) -> int: ...

    @property
    def max_seconds(self) -> float: ...


def progress(step: int, elapsed_s: float, budget: Budget) -> float:
    """How much of the budget is used, 0 to 1: of the steps or the seconds, whichever is further."""
    by_step = step / budget.max_steps if budget.max_steps else 0.0
    by_time = elapsed_s / budget.max_seconds if budget.max_seconds else 0.0
    return min(1.0, max(by_step, by_time))


def warm_up(used: float, share: float) -> float:
    """Linear from about 0 to 1 over the first `share`."""
    return min(1.0, (used + FIRST) / share) if share else 1.0


def half_cosine(done: float, start: float, end: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2


def one_cycle(used: float, warmup_share: float, final: float) -> float:
    """Half a cosine up from 1/25, half a cosine down: torch's OneCycleLR."""
    if used < warmup_share:
        return half_cosine(used / warmup_share, ONE_CYCLE_START, 1.0)
    return half_cosine(after(used, warmup_share), 1.0, final)


def cosine(used: float, warmup_share: float, final: float) -> float:
    """A linear warm-up, then half a cosine down."""
    if used < warmup_share:
        return warm_up(used, warmup_share)
    return half_cosine(after(used, warmup_share), 1.0, final)


def warm_stable_decay(
    used: float, warmup_share: float, decay_share: float, final: float = 0.0
) -> float:
    """A linear warm-up, flat, then linear down over the last `decay_share`."""
    left = (1.0 - used) / decay_share if decay_share else 1.0
    down = final + (1.0 - final) * max(0.0, min(left, 1.0))
    return min(warm_up(used, warmup_share), down)


def after(used: float, warmup_share: float) -> float:
    """How much of what follows the warm-up is used."""
    return (used - warmup_share) / (1.0 - warmup_share) if warmup_share < 1.0 else 1.0
