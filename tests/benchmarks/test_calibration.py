import math
import random

import pytest
from calls.calibration import Judged, applied, expected_error, fit, reliability

from smoldiff.head.calibration import NEUTRAL, Calibration


def judged(*pairs):
    return [Judged(chance, bool(is_right)) for chance, is_right in pairs]


def drawn(true, num_values=4000, seed=0):
    """Values whose chances are off by the inverse of a known line."""
    generator = random.Random(seed)
    values = []
    for _ in range(num_values):
        log_odds = generator.gauss(0, 2)
        right = 1 / (1 + math.exp(-(true.scale * log_odds + true.offset)))
        values.append(Judged(1 / (1 + math.exp(-log_odds)), generator.random() < right))
    return values


FOUR = judged((0.1, 0), (0.3, 1), (0.8, 1), (0.9, 1))


@pytest.mark.parametrize(
    ("kind", "num_bins", "expected"),
    [
        ("equal-width", 1, abs(0.75 - 0.525)),
        ("equal-width", 2, (2 * abs(0.5 - 0.2) + 2 * abs(1 - 0.85)) / 4),
        ("equal-mass", 2, (2 * abs(0.5 - 0.2) + 2 * abs(1 - 0.85)) / 4),
        ("equal-width", 10, (0.1 + 0.7 + 0.2 + 0.1) / 4),
        ("equal-mass", 4, (0.1 + 0.7 + 0.2 + 0.1) / 4),
    ],
)
def test_the_error_is_the_mean_gap_of_the_bins_weighted_by_their_values(kind, num_bins, expected):
    assert expected_error(FOUR, kind, num_bins) == pytest.approx(expected)


def test_bins_of_equal_width_hold_their_lower_edge_and_the_last_one_holds_1():
    found = reliability(judged((0.0, 0), (0.5, 1), (0.6, 0), (1.0, 1)), "equal-width", 2)
    assert [(b.n, b.right_share) for b in found] == [(1, 0.0), (3, pytest.approx(2 / 3))]


def test_bins_of_equal_mass_hold_as_many_values_as_the_others():
    values = judged(*((i / 150, i % 2) for i in range(150)))
    assert {b.n for b in reliability(values, "equal-mass")} == {10}


def test_equal_chances_are_never_parted():
    values = judged(*[(1.0, i % 2) for i in range(90)], *[(i / 100, 0) for i in range(10)])
    found = reliability(values, "equal-mass", 10)
    assert (found[-1].n, found[-1].right_share) == (90, 0.5)
    assert sum(b.n for b in found) == 100


def test_the_order_of_the_values_does_not_matter():
    values = drawn(Calibration(0.5, 0.2), 500)
    for kind in ("equal-mass", "equal-width"):
        turned = expected_error(values[::-1], kind)
        assert expected_error(values, kind) == pytest.approx(turned)


def test_nothing_judged_has_no_error_and_an_unknown_kind_is_refused():
    assert expected_error([], "equal-mass") is None
    with pytest.raises(ValueError, match="expected one of equal-mass, equal-width"):
        reliability(FOUR, "equal")


@pytest.mark.parametrize("true", [Calibration(0.5, -0.7), Calibration(2.0, 0.4), NEUTRAL])
def test_a_fit_finds_the_line_that_the_values_were_drawn_from(true):
    found = fit(drawn(true))
    assert found.scale == pytest.approx(true.scale, rel=0.1)
    assert found.offset == pytest.approx(true.offset, abs=0.1)


def test_a_fit_on_some_values_makes_the_error_of_others_smaller():
    true = Calibration(0.4, -0.5)
    found = fit(drawn(true))
    others = drawn(true, seed=1)
    for kind in ("equal-mass", "equal-width"):
        assert expected_error(applied(found, others), kind) < 0.3 * expected_error(others, kind)


def test_a_temperature_has_no_offset():
    found = fit(drawn(Calibration(0.5, 0.0)), has_offset=False)
    assert found.offset == 0
    assert found.scale == pytest.approx(0.5, rel=0.1)


def test_chances_of_0_and_1_are_left_alone_and_left_out():
    values = drawn(Calibration(0.5, 0.0), 500)
    certain = judged((0.0, 1), (1.0, 0), (1.0, 0))
    assert fit(values + certain) == fit(values)
    assert fit(certain) == NEUTRAL
    assert fit([]) == NEUTRAL
    assert applied(Calibration(0.5, 1.0), certain) == certain


def test_chances_that_part_right_from_wrong_and_chances_that_mislead_have_a_fit():
    parted = judged(*[(0.9, 1), (0.1, 0)] * 20)
    assert math.isfinite(fit(parted).scale)
    misleading = judged(*[(0.9, 0), (0.1, 1)] * 20)
    assert 0 < fit(misleading).scale < 0.05  # flat: the surer value stays the surer one
