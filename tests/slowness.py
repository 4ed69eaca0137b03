"""Limits of CPU time that hold on slow and on busy machines: how slow this one is, and a process for each try.

Other work in the same package of processors makes a second of CPU time do half as much, and reach memory half as fast.
It can only slow a call, so the fastest of a few tries is nearest to what the call takes.
"""

import gc
import os
import pickle
import time
import traceback

NUM_LOOPS = 200_000
USUAL_S = 0.014
"""For so many loops, at 70 ns each."""
NUM_OBJECTS = 150_000
USUAL_BUILT_S = 0.15
"""For so many objects, at one microsecond each, collecting garbage among them."""
MOST = 3.0
"""A machine that is slower still fails."""
NUM_TRIES = 3


def within(limit_s, call, what=""):
    """Fails unless the call takes less CPU time than the limit, which is one of a usual machine.

    Each try is in a forked process, which has what this one has cached, and nothing that a try before it has.
    """
    fastest_within(limit_s, lambda: cpu_s(call), what)


def fastest_within(limit_s, measure, what=""):
    """Fails unless one of a few measurements of CPU time is below the limit."""
    taken_s = []
    while len(taken_s) < NUM_TRIES:
        taken_s.append(measure())
        if is_within(limit_s, taken_s[-1]):
            return
    raise AssertionError(f"{what} {taken_s} s of CPU time, limit {limit_s} s where nothing is slow")


def is_within(limit_s: float, taken_s: float) -> bool:
    """Whether a usual machine would have kept the limit."""
    return taken_s < limit_s or taken_s < limit_s * slowness()


def cpu_s(call) -> float:
    """What a call takes in a process of its own, without that process's own memory to collect garbage in."""
    source, sink = os.pipe()
    pid = os.fork()
    if pid == 0:
        gc.freeze()
        started, problem = time.process_time(), None
        try:
            call()
        except BaseException:
            problem = traceback.format_exc()
        with os.fdopen(sink, "wb") as to_parent:
            pickle.dump((time.process_time() - started, problem), to_parent)
        os._exit(0)
    os.close(sink)
    with os.fdopen(source, "rb") as from_child:
        told = from_child.read()
    os.waitpid(pid, 0)
    assert told, "the process of the call ended on its own"
    taken_s, problem = pickle.loads(told)
    assert problem is None, problem
    return taken_s


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
