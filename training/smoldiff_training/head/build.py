"""The parts of a head's run, from its configuration: the base, the head, the targets, the batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from smoldiff.decode.model import Model, load
from smoldiff.head.checkpoint import base_facts
from smoldiff.head.model import DiffusionHead
from smoldiff_training.config import ConfigError
from smoldiff_training.data.cache import cached_targets
from smoldiff_training.data.draw import draw_rows
from smoldiff_training.data.rows import Row
from smoldiff_training.data.sources import load_rows, weighted_rows
from smoldiff_training.data.store import NoTargets, TargetStore
from smoldiff_training.data.targets import TargetOptions
from smoldiff_training.head.batches import HeadBatches, loader
from smoldiff_training.head.config import HeadDataConfig, HeadTrainConfig
from smoldiff_training.head.evaluate import evaluation
from smoldiff_training.head.learner import Parts
from smoldiff_training.head.loss import HeadLoss

SMALL_BASE = 100_000_000
"""Parameters."""


def build_parts(cfg: HeadTrainConfig, accelerator: Any) -> Parts:
    """The parts on this process's device. The first process to ask builds the targets; the others wait for them.

    Raises ConfigError, ModelNotFound.
    """
    show = print if accelerator.is_main_process else silent
    base = load(cfg.base, device=device_name(accelerator.device), head="none")
    head = new_head(cfg, base)
    evaluate = evaluation_of(cfg, base)
    rows = training_rows(cfg.data, cfg.seed, show)
    network = base.base.model  # type: ignore[attr-defined]  # a head needs a transformers base
    is_small = network.num_parameters() < SMALL_BASE
    targets = training_targets(cfg, rows, accelerator.device.type, is_small)
    show(f"{len(targets)} targets; dropped: {dict(targets.dropped)}")
    batches = HeadBatches(
        targets=targets,
        lengths=targets.num_tokens(),
        batch_examples=cfg.data.batch_examples,
        vocabulary=base.vocabulary,
        call_style=base.call_style,
        noise=cfg.noise,
        max_positions=cfg.model.max_slot_positions,
        seed=cfg.seed,
        moments=cfg.data.moments,
    )
    return Parts(
        head=head,
        loss=HeadLoss(head, network.requires_grad_(False), cfg.loss),
        batches=partial(loader, batches, num_workers=cfg.data.num_workers),
        evaluate=evaluate,
    )


def device_name(device: Any) -> str:
    """As `smoldiff.load` takes it. On CPUs accelerate numbers the processes, where `load` knows one CPU only."""
    return "cpu" if device.type == "cpu" else str(device)


def evaluation_of(
    cfg: HeadTrainConfig, base: Model
) -> Callable[[Any, int], dict[str, float]] | None:
    """What scores a head on rows of `data.dev`; None where no rows are to be scored. Raises ConfigError."""
    if not (cfg.eval_rows and cfg.data.dev):
        return None
    path = Path(cfg.data.dev)
    if not path.is_file():
        raise ConfigError(f"data.dev: {path}: no such file; give one, or set `eval_rows: 0`")
    if path.suffix != ".gz":
        raise ConfigError(f"data.dev: {path}: not packed; give a .jsonl.gz, or set `eval_rows: 0`")
    return evaluation(base, path, cfg.eval_rows)


def new_head(cfg: HeadTrainConfig, base: Model) -> DiffusionHead:
    """A new head for the base, or the one that training starts from, in float32."""
    if cfg.init:
        head = DiffusionHead.from_pretrained(cfg.init)
        head.config.check(base_facts(base))
    else:
        head = DiffusionHead.for_base(base, **asdict(cfg.model))
    return head.float()


def training_rows(cfg: HeadDataConfig, seed: int, show: Callable[[str], None]) -> Sequence[Row]:
    """What targets are made of: the sources' rows by weight, their new versions, synthetic ones."""
    loaded = load_rows(cfg)
    for line in loaded.report:
        show(line)
    chosen = weighted_rows(loaded, cfg.num_rows, seed)
    return draw_rows(chosen, cfg.num_rows, cfg.augment, cfg.synthetic_share, cfg.mcp_tools, seed)


def training_targets(
    cfg: HeadTrainConfig, rows: Sequence[Row], device: str, is_small: bool
) -> TargetStore:
    """A small base writes them in float32, in which it is used on a CPU; a large one as it is used on a GPU.

    Raises ConfigError where no row makes one.
    """
    dtype = cfg.data.target_dtype
    options = TargetOptions(
        top_k=cfg.data.top_k,
        max_prompt_tokens=cfg.data.max_prompt_tokens,
        batch_rows=cfg.data.target_batch,
        dtype="float32" if is_small and dtype == "auto" else dtype,
        is_confirmed_only=cfg.data.is_confirmed_only,
    )
    try:
        return cached_targets(
            cfg.base,
            rows,
            Path(cfg.data.cache),
            options,
            num_processes=cfg.data.target_processes,
            device=device,
        )
    except NoTargets as problem:
        raise ConfigError(f"data.sources: {problem}") from problem


def silent(line: str) -> None:
    """Say nothing: the first process says it."""
