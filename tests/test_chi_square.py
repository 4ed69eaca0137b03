"""The statistic lets equal distributions pass and catches a planted error."""

import random
from collections import Counter

from chi_square import P_999, two_samples

NUM_DRAWS = 1500
CHANCES = {"spring": 0.4, "summer": 0.3, "autumn": 0.2, "winter": 0.1}


def drawn(chances, seed):
    return Counter(random.Random(seed).choices(list(chances), list(chances.values()), k=NUM_DRAWS))


def test_samples_of_one_distribution_pass():
    found = [two_samples(drawn(CHANCES, seed), drawn(CHANCES, seed + 100)) for seed in range(50)]
    assert all(freedom == 3 for _, freedom in found)
    assert sum(statistic > P_999[3] for statistic, _ in found) <= 1


def test_a_shift_of_a_tenth_is_caught():
    other = {**CHANCES, "spring": 0.5, "summer": 0.2}
    found = [two_samples(drawn(CHANCES, seed), drawn(other, seed + 100)) for seed in range(50)]
    assert sum(statistic > P_999[3] for statistic, _ in found) >= 48


def test_rare_kinds_are_put_together():
    first, second = Counter(a=100, b=100, c=1, d=2, e=3), Counter(a=100, b=100, f=4, g=3)
    _, freedom = two_samples(first, second)
    assert freedom == 2
