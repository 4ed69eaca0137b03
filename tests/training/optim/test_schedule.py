"""The rates are torch's, as functions of the share of the budget."""

from types import SimpleNamespace

import pytest
import torch
from torch.optim import lr_scheduler

from smoldiff_training.optim.schedule import cosine, one_cycle, progress, warm_stable_decay

NUM_STEPS = 101
WARM_UP = 10


def torch_factors(make) -> list[float]:
    """Rates at each step of a torch scheduler over a peak rate of 1."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer)
    factors = []
    for _ in range(NUM_STEPS):
        factors.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step() if len(factors) < NUM_STEPS else None
    return factors


def ours(schedule, *args) -> list[float]:
    return [schedule(step / (NUM_STEPS - 1), *args) for step in range(NUM_STEPS)]


def test_one_cycle_is_torch_one_cycle():
    # torch ends the warm-up one step before pct_start, and counts from the first step to the last
    theirs = torch_factors(
        lambda o: lr_scheduler.OneCycleLR(
            o,
            max_lr=1.0,
            total_steps=NUM_STEPS,
            pct_start=(WARM_UP + 1) / NUM_STEPS,
            cycle_momentum=False,
            final_div_factor=4,
        )
    )
    assert ours(one_cycle, 0.1, 1 / 100) == pytest.approx(theirs, abs=1e-9)


def warmed(optimizer, *then):
    first = lr_scheduler.LinearLR(optimizer, start_factor=1e-9, total_iters=WARM_UP)
    return lr_scheduler.SequentialLR(
        optimizer, [first, *(t for t, _ in then)], [m for _, m in then]
    )


@pytest.mark.filterwarnings("ignore:The epoch parameter in:UserWarning")  # torch calls itself so
def test_cosine_is_a_linear_warm_up_and_torch_cosine():
    theirs = torch_factors(
        lambda o: warmed(o, (lr_scheduler.CosineAnnealingLR(o, 90, eta_min=0.1), WARM_UP))
    )
    # the first step of our warm-up is a ten-thousandth of the budget further than zero
    assert ours(cosine, 0.1, 0.1) == pytest.approx(theirs, abs=1.1e-3)


@pytest.mark.filterwarnings("ignore:The epoch parameter in:UserWarning")
def test_wsd_is_a_linear_warm_up_flat_and_a_linear_decay():
    theirs = torch_factors(
        lambda o: warmed(
            o,
            (lr_scheduler.ConstantLR(o, 1.0, 1), WARM_UP),
            (lr_scheduler.LinearLR(o, 1.0, 0.2, 30), 70),
        )
    )
    assert ours(warm_stable_decay, 0.1, 0.3, 0.2) == pytest.approx(theirs, abs=1.1e-3)


@pytest.mark.parametrize(
    ("schedule", "args"),
    [(one_cycle, (0.05,)), (cosine, (0.05,)), (warm_stable_decay, (0.05, 0.3))],
)
def test_every_schedule_starts_above_zero_peaks_at_one_and_ends_at_its_final_factor(schedule, args):
    factors = ours(schedule, *args, 0.02)
    assert factors[0] > 0
    assert max(factors) == pytest.approx(1.0)
    assert factors[-1] == pytest.approx(0.02)


def test_no_warm_up_and_nothing_but_warm_up_are_allowed():
    assert one_cycle(0.0, 0.0, 0.0) == 1.0
    assert cosine(0.0, 0.0, 0.0) == 1.0
    assert warm_stable_decay(0.0, 0.0, 0.0) == 1.0
    assert one_cycle(1.0, 1.0, 0.5) == 0.5


def test_the_budget_is_the_limit_that_is_nearer():
    both = SimpleNamespace(max_steps=100, max_seconds=10.0)
    assert progress(10, 5.0, both) == 0.5
    assert progress(60, 5.0, both) == 0.6
    assert progress(10, 5.0, SimpleNamespace(max_steps=0, max_seconds=10.0)) == 0.5
    assert progress(500, 0.0, both) == 1.0
