"""Train a diffusion head: one readable loop, on a CPU, one GPU or several."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from smoldiff_training.head.build import build_parts
from smoldiff_training.head.checkpoint import (
    check_out,
    config_record,
    load_checkpoint,
    save_checkpoint,
)
from smoldiff_training.head.config import HeadTrainConfig
from smoldiff_training.head.learner import Learner, Parts
from smoldiff_training.head.optim import rate_at
from smoldiff_training.head.processes import new_accelerator
from smoldiff_training.head.tracking import Tracker, check_tracker
from smoldiff_training.optim.schedule import progress
from smoldiff_training.record import Clock, write_conditions

SYNC_EVERY = 10  # steps between two looks at the clock, which all processes must agree on
EXPORT = "head"

Build = Callable[[HeadTrainConfig, Any], Parts]


def train(cfg: HeadTrainConfig, build: Build = build_parts) -> None:
    """Train until a limit is reached and leave the head in `out/head`. `build(cfg, accelerator)` makes the parts.

    Goes on from a checkpoint in `out`. Raises ConfigError where `out`, the tracker or the parts do not fit `cfg`.
    """
    check_tracker(cfg.tracker)
    accelerator = new_accelerator(cfg)
    check_out(cfg, accelerator.num_processes)
    out, is_first = Path(cfg.out), accelerator.is_main_process
    saved = load_checkpoint(out)
    torch.manual_seed(cfg.seed)  # every process draws the same first weights
    parts = build(cfg, accelerator)
    learner = Learner(cfg, parts, accelerator, saved)
    step, elapsed_s = (saved.step, saved.elapsed_s) if saved else (0, 0.0)
    config = config_record(cfg, accelerator.num_processes)
    if is_first:
        out.mkdir(parents=True, exist_ok=True)
        write_conditions(out, cfg)
    tracker = Tracker(cfg, accelerator, config, step)
    clock = Clock(accelerator, elapsed_s)
    is_save_due = Due(cfg.checkpoint_every_s, elapsed_s)
    is_score_due = Due(cfg.eval_every_s, elapsed_s)
    accumulation = cfg.optim.accumulation
    batches = parts.batches(
        step * accumulation, accelerator.process_index, accelerator.num_processes
    )
    used = progress(step, elapsed_s, cfg.optim)
    while used < 1.0:
        factor = rate_at(used, cfg.optim)
        numbers, norm = learner.update(list(islice(batches, accumulation)), step, factor)
        step += 1
        tracker.count(numbers)
        if step % SYNC_EVERY == 0 or step == 1:
            elapsed_s = clock.agreed_s()
        used = progress(step, elapsed_s, cfg.optim)
        is_last, is_sync = used >= 1.0, step % SYNC_EVERY == 0
        if is_last or is_sync:
            check_finite(norm.item(), step)
        if step % cfg.log_every == 0 or is_last:
            tracker.step(step, used, numbers, norm=norm.item(), rate=factor, elapsed_s=elapsed_s)
        if parts.evaluate and (is_last or (is_sync and is_score_due(elapsed_s))):
            with tracker.paused():
                head = learner.shown()
                if is_first:
                    tracker.scores(step, parts.evaluate(head, step))
        if is_last or (is_sync and is_save_due(elapsed_s)):
            with tracker.paused():
                checkpoint = learner.checkpoint(step, elapsed_s)
                if is_first:
                    save_checkpoint(out, checkpoint, config)
    head = learner.shown()
    if is_first:
        head.save_pretrained(out / EXPORT)
    accelerator.wait_for_everyone()
    # DDP must not be the last to hold the processes' group: it would wait, with the interpreter locked, for a thread
    # of the group that may need the interpreter.
    del learner
    accelerator.free_memory()
    tracker.close()


def check_finite(norm: float, step: int) -> None:
    """Raise FloatingPointError before broken weights are saved."""
    if not math.isfinite(norm):
        raise FloatingPointError(
            f"step {step}: the gradient's norm is {norm}; lower optim.muon_lr or optim.adam_lr."
            " The last checkpoint is from before"
        )


class Due:
    """Whether some seconds have passed since it last said so. Never, where they are 0."""

    def __init__(self, every_s: float, now_s: float) -> None:
        self.every_s, self.last_s = every_s, now_s

    def __call__(self, now_s: float) -> bool:
        is_due = self.every_s > 0 and now_s - self.last_s >= self.every_s
        if is_due:
            self.last_s = now_s
        return is_due
