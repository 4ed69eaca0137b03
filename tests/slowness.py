"""How much slower than usual this machine is at the moment: limits of CPU time are those of a usual one.

Other work in the same package of processors makes a second of CPU time do half as much.
"""

import time

NUM_LOOPS = 200_000
USUAL_S = 0.014
"""For so many loops, at 70 ns each."""
MOST = 3.0
"""A machine that is slower still fails."""


def slowness() -> float:
    """From 1 to `MOST`, by the slowest of three tries: what it is beside was slowed by the same other work."""
    return min(MOST, max(1.0, *(looped() / USUAL_S for _ in range(3))))


def looped() -> float:
    started, total = time.process_time(), 0
    for i in range(NUM_LOOPS):
        total += i
    return time.process_time() - started
