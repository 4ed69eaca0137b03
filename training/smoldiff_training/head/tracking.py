"""Where the numbers of a run go: JSON lines beside the checkpoint, a tracker, and the terminal."""

from __future__ import annotations

import importlib.util
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor

from smoldiff_training.config import ConfigError
from smoldiff_training.head.config import HeadTrainConfig
from smoldiff_training.head.learner import is_count
from smoldiff_training.record import Log

PROJECT = "smoldiff-head"
SHOWN = ("loss", "tokens_per_s", "peak_bytes")


def check_tracker(name: str) -> None:
    """Raise ConfigError where the package of a tracker is missing."""
    if name != "none" and importlib.util.find_spec(name) is None:
        raise ConfigError(
            f"tracker: {name} is not installed; run `pip install {name}`, or set `tracker: none`"
        )


class Tracker:
    """Silent in all processes but the first, except that each takes part in `numbers`."""

    def __init__(
        self, cfg: HeadTrainConfig, accelerator: Any, config: dict[str, Any], step: int
    ) -> None:
        self.accelerator, self.is_on = accelerator, accelerator.is_main_process
        self.lap, self.num_positions = time.monotonic(), torch.zeros((), device=accelerator.device)
        console = Console()
        self.bar = progress_bar(console) if self.is_on and console.is_terminal else None
        self.task = self.bar.add_task("training", total=1.0, numbers="") if self.bar else None
        show = (lambda line: None) if self.bar else plain_line
        self.log = Log(Path(cfg.out) / "log.jsonl", self.is_on, show)
        self.log.rewind(step)
        self.has_tracker = cfg.tracker != "none"
        if self.has_tracker:
            start_tracker(accelerator, cfg.tracker, config, step)
        if self.bar:
            self.bar.start()

    def count(self, numbers: dict[str, Tensor]) -> None:
        """Take in one step's positions; they are counted on the device, so that nothing waits."""
        self.num_positions += numbers.get("num_positions", 0)

    def step(self, step: int, used: float, numbers: dict[str, Tensor], **more: float) -> None:
        """Log one step: means over the processes, with the speed since the last time."""
        merged = self._merged({**numbers, "num_lap_positions": self.num_positions})
        now = time.monotonic()
        merged["tokens_per_s"] = int(merged.pop("num_lap_positions") / (now - self.lap))
        self.lap = now
        self.num_positions.zero_()
        row = {**merged, **more, "peak_bytes": peak_bytes(self.accelerator.device)}
        self.log(step=step, **row)
        self._track(row, step)
        if self.bar and self.task is not None:
            shown = "  ".join(f"{name} {row[name]:.4g}" for name in SHOWN)
            self.bar.update(self.task, completed=used, numbers=f"step {step}  {shown}")

    def scores(self, step: int, scores: dict[str, float]) -> None:
        """Log an evaluation."""
        self.log(step=step, evaluation=scores)
        self._track({f"evaluation/{name}": value for name, value in scores.items()}, step)
        if self.bar:
            self.bar.console.print(f"step {step}  {scores}")

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Around what is not training, so that it does not count in the speed."""
        start = time.monotonic()
        yield
        self.lap += time.monotonic() - start

    def close(self) -> None:
        if self.bar:
            self.bar.stop()
        self.accelerator.end_training()

    def _merged(self, numbers: dict[str, Tensor]) -> dict[str, float]:
        flat = torch.stack([v.detach().float() for v in numbers.values()])
        sums = self.accelerator.reduce(flat, "sum").tolist()
        count = self.accelerator.num_processes
        return {
            name: total if is_count(name) else total / count
            for name, total in zip(numbers, sums, strict=True)
        }

    def _track(self, row: dict[str, float], step: int) -> None:
        if self.has_tracker:
            self.accelerator.log(row, step=step)


def plain_line(line: str) -> None:
    print(line, flush=True)


def progress_bar(console: Console) -> Progress:
    columns = (
        BarColumn(),
        TextColumn("{task.percentage:.0f}%"),
        TextColumn("{task.fields[numbers]}"),
    )
    return Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console)


def start_tracker(accelerator: Any, name: str, config: dict[str, Any], step: int) -> None:
    """Open it where `step` left it: TensorBoard drops what a killed run wrote after its checkpoint."""
    more: dict[str, dict[str, Any]] = {"tensorboard": {"purge_step": step + 1}} if step else {}
    plain = {k: v if isinstance(v, int | float | str) else str(v) for k, v in config.items()}
    accelerator.init_trackers(PROJECT, config=plain, init_kwargs=more)


def peak_bytes(device: torch.device) -> int:
    """The most memory that this process has held, on its GPU where it has one."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return held if sys.platform == "darwin" else held * 1024
