"""A limit of CPU time is missed by what always takes longer, and kept by what takes longer once."""

import pytest
from slowness import MOST, NUM_TRIES, fastest_within, within


def spin():
    for _ in range(2_000_000):
        pass


def test_what_takes_too_long_fails_and_says_what():
    with pytest.raises(AssertionError, match="the loop"):
        within(0.001, spin, "the loop")


def test_what_is_wrong_in_a_call_fails_its_test():
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        within(10, lambda: 1 / 0)


def test_the_fastest_try_counts():
    slow = 2 * MOST
    fastest_within(1, iter([slow] * (NUM_TRIES - 1) + [0.5]).__next__)
    with pytest.raises(AssertionError):
        fastest_within(1, iter([slow] * NUM_TRIES + [0.5]).__next__)
