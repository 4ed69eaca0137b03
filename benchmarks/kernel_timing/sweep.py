"""Times of other tiles than those that an op's table holds, at the table's shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from multiprocessing import get_context
from random import Random
from typing import Any, NamedTuple

import torch
from torch import Tensor

from kernel_timing.case import said
from kernel_timing.clock import Work, time_work

Knobs = Mapping[str, Any]
Tried = tuple[int, int]
"""Numbers of a sweep and of its knobs."""

REPEATS = 7
NUM_BEST = 4
MAX_RELATIVE_ERROR = 0.02
"""bfloat16 rounds by 0.004; another order of sums does no more."""


@dataclass(frozen=True)
class Sweep:
    """An op at a shape, and what is tried there."""

    op: str
    shape: str
    knobs: Sequence[Knobs]
    """First those of the op's own table."""
    make: Callable[[int, torch.device], Callable[[Knobs], Work]]
    """Puts so many inputs on a device; gives what runs under some knobs, and returns its results."""
    num_inputs: int = 1


Sweeps = Callable[[bool, torch.device, int], list[Sweep]]
"""Of an op: whether shapes are tiny, the device, and how many knobs are tried at each shape."""


def around(
    own: Knobs, choices: Mapping[str, Sequence[Any]], fits: Callable[[Knobs], bool], limit: int
) -> list[Knobs]:
    """Own, then what differs from it in the fewest knobs, as far as it fits; of as many knobs in a mixed, fixed order."""
    found = [dict(zip(choices, values, strict=True)) for values in product(*choices.values())]
    others = [knobs for knobs in found if knobs != own and fits(knobs)]
    Random(0).shuffle(others)
    others.sort(key=lambda knobs: sum(knobs[name] != own[name] for name in choices))
    return [own, *others][:limit]


class Asked(NamedTuple):
    """Which sweeps of an op are wanted."""

    shapes: str
    """What stands in the names of their shapes."""
    is_small: bool
    device: torch.device
    limit: int
    """Knobs that are tried at each shape."""


def times(sweeps: Sweeps, asked: Asked, num_workers: int) -> Iterator[dict[str, Any]]:
    """A row for each choice of knobs. What does not compile or run has its problem in place of a time."""
    device, todo = asked.device, _listed(sweeps, asked)
    problems = _compiled(sweeps, asked, todo, num_workers)
    for i, sweep in enumerate(todo):
        launch, own_us, expected = sweep.make(sweep.num_inputs, device), None, None
        for j, knobs in enumerate(sweep.knobs):
            row = {"benchmark": "kernel-sweep", "op": sweep.op, "shape": sweep.shape}
            row |= {"knobs": dict(knobs), "is_own": j == 0}
            problem = problems.get((i, j))
            try:
                if problem is None:
                    work = launch(knobs)
                    found = work(0)
                    expected = found if expected is None else expected
                    if _is_near(found, expected):
                        repeats = REPEATS if device.type == "cuda" else 2
                        time = time_work(work, device, sweep.num_inputs, repeats)
                        own_us = time.us if j == 0 else own_us
                        row |= {"us": time.us, "p10_us": time.p10_us, "p90_us": time.p90_us}
                        row["over_own"] = time.us / own_us if own_us else None
                    else:
                        problem = "its results differ from those of the first that ran"
            except Exception as error:
                problem = said(error)
            if device.type == "cuda":
                torch.cuda.synchronize()  # a device that is out of order ends the sweep here
            yield row if problem is None else {**row, "us": None, "problem": problem}


def _compiled(
    sweeps: Sweeps, asked: Asked, todo: Sequence[Sweep], num_workers: int
) -> dict[Tried, str]:
    """Fills Triton's cache, many processes side by side. What did not compile, and why."""
    if not num_workers:
        return {}
    tried = [(i, j) for i, sweep in enumerate(todo) for j in range(len(sweep.knobs))]
    problems: dict[Tried, str] = {}
    with ProcessPoolExecutor(num_workers, mp_context=get_context("spawn")) as pool:
        running: dict[Tried, Future[str | None]] = {
            one: pool.submit(_run_once, sweeps, asked, *one) for one in tried
        }
        for one, future in running.items():
            try:
                problem = future.result()
            except BrokenProcessPool as error:
                problem = said(error)
            if problem is not None:
                problems[one] = problem
    return problems


def _run_once(sweeps: Sweeps, asked: Asked, i: int, j: int) -> str | None:
    """The problem, if any; also None where this process's device is out of order since an earlier one."""
    device = asked.device
    if device.type == "cuda":
        try:
            torch.cuda.synchronize()
        except RuntimeError:
            return None
    try:
        sweep, launch = _launch(sweeps, asked, i)
        launch(sweep.knobs[j])(0)
        if device.type == "cuda":
            torch.cuda.synchronize()
    except Exception as problem:
        return said(problem)
    return None


@lru_cache(maxsize=1)
def _listed(sweeps: Sweeps, asked: Asked) -> list[Sweep]:
    found = sweeps(asked.is_small, asked.device, asked.limit)
    return [sweep for sweep in found if asked.shapes in sweep.shape]


@lru_cache(maxsize=1)  # the knobs of one sweep come one behind the other
def _launch(sweeps: Sweeps, asked: Asked, i: int) -> tuple[Sweep, Callable[[Knobs], Work]]:
    sweep = _listed(sweeps, asked)[i]
    return sweep, sweep.make(1, asked.device)


def _is_near(found: Any, expected: Any) -> bool:
    """Whether all numbers agree to rounding. Token ids may not: others may be as good."""
    if isinstance(found, tuple):
        return all(map(_is_near, found, expected))
    if not isinstance(found, Tensor) or not found.is_floating_point():
        return True
    is_finite = expected.isfinite()
    if not torch.equal(is_finite, found.isfinite()):
        return False
    one, other = (x[is_finite].double() for x in (found, expected))
    return bool((one - other).norm() <= MAX_RELATIVE_ERROR * other.norm())


def best(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The fastest of each shape in words, and the table's own."""
    for shape in dict.fromkeys(row["shape"] for row in rows):
        of_shape = [row for row in rows if row["shape"] == shape]
        names = [
            name
            for name, value in of_shape[0]["knobs"].items()
            if any(row["knobs"][name] != value for row in of_shape)
        ]
        timed = sorted((row for row in of_shape if row["us"]), key=lambda row: row["us"])
        yield f"{of_shape[0]['op']}, {shape}: {len(timed)} of {len(of_shape)} ran"
        shown = timed[:NUM_BEST] + [row for row in timed[NUM_BEST:] if row["is_own"]]
        for row in shown:
            knobs = " ".join(f"{name}={row['knobs'][name]}" for name in names)
            yield f"{row['us']:9.2f} us {'own' if row['is_own'] else '   '} {knobs}"
