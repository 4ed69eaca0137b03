"""Compiling what will be timed, in many processes side by side."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import torch

from kernel_timing.case import Case, said


def fill_caches(cases: Sequence[Case], num_workers: int, device: torch.device) -> None:
    """Run each case once, so that the compilers' caches on the disk hold its kernels. Nothing without workers."""
    if not num_workers:
        return
    context = get_context("spawn")
    with ProcessPoolExecutor(num_workers, context, _with_one_compiler) as pool:
        running = [pool.submit(run_once, case, device) for case in cases]
        for one in running:
            one.exception()  # a process that died: its case shows what is wrong where it is timed


def _with_one_compiler() -> None:
    """torch.compile would start as many processes as there are cores, in each of these."""
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"


def run_once(case: Case, device: torch.device) -> list[str]:
    """What went wrong, which the clock will meet again."""
    problems = []
    for name, work in case.make(device).items():
        if work is None:
            continue
        try:
            work(0)
        except Exception as problem:
            problems.append(f"{name}: {said(problem)}")
    if device.type == "cuda":
        torch.cuda.synchronize()
    return problems
