"""One system beside others on the same examples: the passes it saves, the right calls it keeps, where it takes longer.

A pair is the cost of the other's answer and of this system's own; examples that either failed on make none.
"""

from collections.abc import Sequence
from statistics import fmean

from calls.answers import Answer, Cost
from calls.score import Score

Pair = tuple[Cost, Cost]


def both_answered(others: Sequence[Answer | None], own: Sequence[Answer]) -> list[Pair]:
    """The costs of the examples that both answered."""
    pairs = zip(others, own, strict=True)
    return [(a.cost, b.cost) for a, b in pairs if a is not None and a.cost and b.cost]


def times_fewer_passes(pairs: Sequence[Pair]) -> float | None:
    """The other's base passes over this system's; None where this one needs none at all."""
    own = sum(cost.base_passes for _, cost in pairs)
    return sum(other.base_passes for other, _ in pairs) / own if own else None


def num_slower(pairs: Sequence[Pair]) -> int:
    """How many answers took longer than the other's."""
    return sum(own.total_ms > other.total_ms for other, own in pairs)


def time_ratios(pairs: Sequence[Pair]) -> list[float]:
    """Of each answer, its time over the other's."""
    return [own.total_ms / other.total_ms for other, own in pairs]


def mean_time_ratio(pairs: Sequence[Pair]) -> float | None:
    return fmean(time_ratios(pairs)) if pairs else None


def exact_vs_pct(others: Sequence[Score], own: Sequence[Score]) -> float | None:
    """This system's exact calls in percent of the other's; None where the other has none."""
    num_others = sum(score.is_exact for score in others)
    return 100 * sum(score.is_exact for score in own) / num_others if num_others else None


def kept_pct(others: Sequence[Score], own: Sequence[Score]) -> float | None:
    """Of the other's exact calls, the share that this system has exact too."""
    kept = [mine.is_exact for other, mine in zip(others, own, strict=True) if other.is_exact]
    return 100 * sum(kept) / len(kept) if kept else None
