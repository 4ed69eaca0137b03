"""Whether two samples may come from one distribution (Pearson's chi-square test of homogeneity)."""

from collections import Counter

LEAST_EXPECTED = 5
P_999 = {1: 10.83, 2: 13.82, 3: 16.27, 4: 18.47, 5: 20.52, 6: 22.46, 7: 24.32, 8: 26.12}
"""By degrees of freedom: one pair of samples in a thousand that do come from one distribution lies above."""


def two_samples(first: Counter, second: Counter) -> tuple[float, int]:
    """The statistic and its degrees of freedom; what is rare in both counts as one kind."""
    total = first + second
    share = first.total() / total.total()
    kinds, rare = [], Counter()
    for kind, count in total.items():
        pair = (first[kind], second[kind])
        if count * min(share, 1 - share) < LEAST_EXPECTED:
            rare.update({"first": pair[0], "second": pair[1]})
        else:
            kinds.append(pair)
    if rare.total() * min(share, 1 - share) >= LEAST_EXPECTED:
        kinds.append((rare["first"], rare["second"]))
    statistic = 0.0
    for a, b in kinds:
        for found, part in ((a, share), (b, 1 - share)):
            statistic += (found - (a + b) * part) ** 2 / ((a + b) * part)
    return statistic, len(kinds) - 1
