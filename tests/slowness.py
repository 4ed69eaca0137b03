"""How much slower than usual this machine is at the moment: limits of CPU time are those of a usual one.

Other work in the same package of processors makes a second of CPU time do half as much, and reach memory half as fast.
"""

import time

NUM_LOOPS = 200_000
USUAL_S = 0.014
"""For so many loops, at 70 ns each."""
NUM_OBJECTS = 150_000
USUAL_BUILT_S = 0.15
"""For so many objects, at one microsecond each, collecting garbage among them."""
MOST = 3.0
"""A machine that is slower still fails."""


def slowness() -> float:
    """From 1 to `MOST`, by the slowest of three tries: what it is beside was slowed by the same other work."""
    tries = (looped() / USUAL_S for _ in range(3))
    return min(MOST, max(1.0, built() / USUAL_BUILT_S, *tries))


def looped() -> float:
    started, total = time.process_time(), 0
    for i in range(NUM_LOOPS):
        total += i
    return time.process_time() - started


def built() -> float:
    started, made = time.process_time(), {}
    for i in range(NUM_OBJECTS):
        made[f"name{i}"] = (i, [i])
    return time.process_time() - started
