"""Whether chances are right as often as they say: expected calibration error, reliability, and a fit of two numbers.

The expected calibration error (Guo et al., 2017) is the mean over all values of |share right - mean chance| of the bin
that a value falls into. Bins are of one of two kinds:

equal-width  [0, 1/n), [1/n, 2/n), ..., the last with 1 in it
equal-mass   between quantiles of the chances, so that each bin holds as many values as the others; equal chances are
             never parted, so a chance that many values have makes fewer and larger bins
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from smoldiff.head.calibration import NEUTRAL, Calibration

NUM_BINS = 15
KINDS = ("equal-mass", "equal-width")


@dataclass(frozen=True, slots=True)
class Judged:
    """A chance, and whether what it speaks of was right."""

    chance: float
    is_right: bool


@dataclass(frozen=True, slots=True)
class Bin:
    """Values of like chances."""

    n: int
    mean_chance: float
    right_share: float


def reliability(judged: Sequence[Judged], kind: str, num_bins: int = NUM_BINS) -> list[Bin]:
    """The bins that hold a value, from the lowest chance on. Raises ValueError for an unknown kind."""
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r}: expected one of {', '.join(KINDS)}")
    if not judged:
        return []
    chances_N, right_N = _arrays(judged)
    if kind == "equal-width":
        places_N = np.minimum((chances_N * num_bins).astype(int), num_bins - 1)
    else:
        edges = np.quantile(chances_N, np.arange(1, num_bins) / num_bins)
        places_N = np.searchsorted(np.unique(edges), chances_N, side="left")
    return [
        Bin(int(here.sum()), float(chances_N[here].mean()), float(right_N[here].mean()))
        for here in (places_N == place for place in np.unique(places_N))
    ]


def expected_error(judged: Sequence[Judged], kind: str, num_bins: int = NUM_BINS) -> float | None:
    """The expected calibration error, 0..1; None where nothing was judged. Raises ValueError for an unknown kind."""
    bins = reliability(judged, kind, num_bins)
    if not bins:
        return None
    return sum(b.n * abs(b.right_share - b.mean_chance) for b in bins) / len(judged)


def applied(calibration: Calibration, judged: Sequence[Judged]) -> list[Judged]:
    return [Judged(calibration.applied(one.chance), one.is_right) for one in judged]


def fit(judged: Sequence[Judged], *, has_offset: bool = True) -> Calibration:
    """The line over log-odds under which what was judged is likeliest; without an offset, a temperature (1 / scale).

    Chances of exactly 0 and 1 stay what they are, so they are left out. The targets are Platt's, a little inside 0 and 1,
    so that chances which part right from wrong without a slip have a fit too. Neutral where there is nothing to fit.
    """
    chances_N, right_N = _arrays([one for one in judged if 0 < one.chance < 1])
    if not len(chances_N):
        return NEUTRAL
    log_odds_N = torch.from_numpy(np.log(chances_N) - np.log1p(-chances_N))
    targets_N = torch.from_numpy(np.where(right_N, *_platt_targets(right_N)))
    # The scale as a logarithm: it stays above 0, and a surer value the surer one.
    line = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    is_free = torch.tensor([1.0, float(has_offset)], dtype=torch.float64)
    optimiser = torch.optim.LBFGS([line], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        log_scale, offset = line * is_free
        fitted_N = log_odds_N * log_scale.exp() + offset
        value = torch.nn.functional.binary_cross_entropy_with_logits(fitted_N, targets_N)
        value.backward()
        return value

    optimiser.step(loss)
    log_scale, offset = (line * is_free).tolist()
    return Calibration(float(np.exp(log_scale)), offset)


def _platt_targets(right_N: NDArray[np.bool_]) -> tuple[float, float]:
    """What right and wrong values are fitted to."""
    num_right = int(right_N.sum())
    return (num_right + 1) / (num_right + 2), 1 / (len(right_N) - num_right + 2)


def _arrays(judged: Sequence[Judged]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    chances_N = np.array([one.chance for one in judged], dtype=np.float64)
    return chances_N, np.array([one.is_right for one in judged], dtype=bool)
