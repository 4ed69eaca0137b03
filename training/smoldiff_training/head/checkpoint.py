"""A run's checkpoints: folders `checkpoints/step-N`, each written whole or not at all.

A folder is filled under another name, brought to the disk and renamed; only then is the one before removed. So at any
moment the newest folder under its right name is whole. Tensors of the head are safetensors; the rest is read with
`weights_only`. Random numbers need no state: each step draws from a seed of its own.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from smoldiff_training.config import ConfigError
from smoldiff_training.head.config import HeadTrainConfig
from smoldiff_training.head.optim import optimizer_kind
from smoldiff_training.record import CONDITIONS

FOLDER = "checkpoints"
UNFINISHED = ".part"
HEAD, EMA, STATE, CONFIG = "head.safetensors", "ema.safetensors", "state.pt", "config.json"
FREE = frozenset(
    {
        "out",
        "resume",
        "log_every",
        "checkpoint_every_s",
        "eval_every_s",
        "eval_rows",
        "tracker",
        "sharding",
        "gradient_checkpointing",
        "compile",
        "data.cache",
        "data.num_workers",
        "data.target_processes",
        "data.target_batch",
    }
)
"""Keys that may change between a checkpoint and the run that goes on from it: they do not change what is learned."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """All that a run needs to go on as if it had never stopped."""

    step: int
    elapsed_s: float
    head: dict[str, Tensor]
    ema: dict[str, Tensor]  # empty where no average is kept
    optimizers: list[dict[str, Any]]


def save_checkpoint(out: Path, checkpoint: Checkpoint, config: Mapping[str, Any]) -> None:
    """Write the folder of this step, then remove those before it."""
    folder = out / FOLDER / f"step-{checkpoint.step:09d}"
    part = folder.with_name(folder.name + UNFINISHED)
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    save_file(checkpoint.head, part / HEAD)
    if checkpoint.ema:
        save_file(checkpoint.ema, part / EMA)
    state = {
        "step": checkpoint.step,
        "elapsed_s": checkpoint.elapsed_s,
        "optimizers": checkpoint.optimizers,
    }
    torch.save(state, part / STATE)
    (part / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    for path in (*part.iterdir(), part):
        to_disk(path)
    os.rename(part, folder)
    to_disk(folder.parent)
    remove_all_but(folder)


def remove_all_but(newest: Path) -> None:
    for path in newest.parent.iterdir():
        if path != newest:
            # Renamed first: half of a folder must not look like one.
            doomed = path if path.suffix == UNFINISHED else path.with_name(path.name + UNFINISHED)
            os.rename(path, doomed)
            shutil.rmtree(doomed)


def to_disk(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def newest_folder(out: Path) -> Path | None:
    folders = sorted((out / FOLDER).glob("step-*[0-9]"))
    return folders[-1] if folders else None


def load_checkpoint(out: Path) -> Checkpoint | None:
    """The newest whole checkpoint under `out`, on the CPU, or None."""
    folder = newest_folder(out)
    if folder is None:
        return None
    state = torch.load(folder / STATE, map_location="cpu", weights_only=True)
    ema = load_file(folder / EMA) if (folder / EMA).is_file() else {}
    return Checkpoint(head=load_file(folder / HEAD), ema=ema, **state)


def config_record(cfg: HeadTrainConfig, num_processes: int) -> dict[str, Any]:
    """The configuration with dotted keys, and with the optimiser that `auto` stands for."""
    record = dict(dotted(json.loads(json.dumps(asdict(cfg)))))
    record["optim.optimizer"] = optimizer_kind(cfg.optim, num_processes)
    return record


def dotted(tree: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from dotted(value, f"{at}{key}.")
        else:
            yield f"{at}{key}", value


def check_out(cfg: HeadTrainConfig, num_processes: int) -> None:
    """Raise ConfigError where `out` holds what this run must not go on from, nor write over."""
    out = Path(cfg.out)
    if out.exists() and not out.is_dir():
        raise ConfigError(f"out: {out} is a file; give a folder")
    kind = kind_of_run(out)
    if kind not in (None, cfg.kind):
        raise ConfigError(f"out: {out} holds a run of kind {kind!r}; give another folder")
    folder = newest_folder(out)
    if folder is None:
        return
    if not cfg.resume:
        raise ConfigError(
            f"out: {out} holds a run; set `resume: true` to go on with it, or give another folder"
        )
    here = config_record(cfg, num_processes)
    there = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    differing = [
        f"{key} is {there.get(key)!r} there and {here.get(key)!r} here"
        for key in sorted(here.keys() | there.keys())
        if key not in FREE and here.get(key) != there.get(key)
    ]
    if differing:
        raise ConfigError(
            f"out: {out} holds a run of another configuration ({'; '.join(differing)});"
            " make them equal, or give another folder"
        )


def kind_of_run(out: Path) -> str | None:
    """The kind of the run whose conditions lie in a folder; None where none do."""
    path = out / CONDITIONS
    if not path.is_file():
        return None
    kind = json.loads(path.read_text(encoding="utf-8"))["config"]["kind"]
    return str(kind)
