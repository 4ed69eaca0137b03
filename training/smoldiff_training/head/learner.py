"""The head while it learns: its loss on each process, its optimisers, its moving average."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import torch
from torch import Tensor, nn

from smoldiff_training.config import ConfigError
from smoldiff_training.head.checkpoint import Checkpoint
from smoldiff_training.head.config import HeadTrainConfig
from smoldiff_training.head.ema import MovingAverage
from smoldiff_training.head.optim import head_optimizers
from smoldiff_training.head.processes import spread, syncing
from smoldiff_training.optim.optimizers import whole

Batch = dict[str, Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """What a run trains, on what, and how it is scored."""

    head: Any
    """A module with `save_pretrained`; optionally `table_parameters`, `gradient_checkpointing_enable`."""
    loss: nn.Module
    """Of the head. Takes a batch; returns the mean loss and detached numbers, those named `num_` counts."""
    batches: Callable[[int, int, int], Iterator[Batch]]
    """Endless batches from a number on, of a process among some: a pure function of these three."""
    evaluate: Callable[[Any, int], dict[str, float]] | None = None
    """Scores of a head after some steps. Called in the first process only; None scores nothing."""


class Learner:
    """What one process knows of the head and moves at each step; the processes hold the same weights, or share one copy."""

    def __init__(
        self, cfg: HeadTrainConfig, parts: Parts, accelerator: Any, saved: Checkpoint | None
    ) -> None:
        self.cfg, self.head, self.accelerator = cfg, parts.head, accelerator
        if saved:
            load_weights(self.head, saved.head)
        self.plain = copy.deepcopy(self.head) if accelerator.is_main_process else None
        prepare_layers(self.head, cfg)
        self.loss = spread(parts.loss, accelerator, cfg).train()
        self.optimizers = head_optimizers(self.head, cfg.optim, accelerator.num_processes)
        decay = cfg.optim.ema_decay
        self.ema = MovingAverage(self.head, decay) if decay else None
        if saved:
            self.optimizers.load_state_dict(saved.optimizers)
        if saved and self.ema:
            self.ema.load_state_dict(saved.ema)

    def update(
        self, batches: Sequence[Batch], step: int, factor: float
    ) -> tuple[dict[str, Tensor], Tensor]:
        """One step over some batches. Returns this process's numbers and the gradient's norm.

        Means are over the batches, counts are sums.
        """
        seed_step(self.cfg.seed, step, self.accelerator.process_index)
        numbers: dict[str, Tensor] = {}
        for i, batch in enumerate(batches):
            device = self.accelerator.device
            on_device = {k: v.to(device, non_blocking=True) for k, v in batch.items()}
            with syncing(self.loss, i == len(batches) - 1):
                with self.accelerator.autocast():
                    loss, more = self.loss(on_device)
                self.accelerator.backward(loss / len(batches))
            for name, value in {**more, "loss": loss.detach()}.items():
                share = value if is_count(name) else value / len(batches)
                numbers[name] = numbers.get(name, 0) + share
        if step == 0:
            check_gradients(self.head)
        norm = self.optimizers.step(factor)
        if self.ema:
            self.ema.update(step + 1)
        return numbers, norm

    def weights(self) -> dict[str, Tensor]:
        """The head's trained weights and its buffers, whole. Every process must ask."""
        frozen = {n for n, p in self.head.named_parameters() if not p.requires_grad}
        state = self.head.state_dict()
        return {n: whole(t.detach()) for n, t in state.items() if n not in frozen}

    def checkpoint(self, step: int, elapsed_s: float) -> Checkpoint:
        """The state after `step` steps, on the CPU. Every process must ask."""
        return Checkpoint(
            step=step,
            elapsed_s=elapsed_s,
            head=on_cpu(self.weights()),
            ema=on_cpu(self.ema.state_dict()) if self.ema else {},
            optimizers=self.optimizers.state_dict(),
        )

    def shown(self) -> Any:
        """A new plain copy of the head with its average weights, if there are any: what is evaluated and exported.

        None in all processes but the first; every process must ask.
        """
        weights = self.weights() | (self.ema.state_dict() if self.ema else {})
        if self.plain is None:
            return None
        head = copy.deepcopy(self.plain)
        load_weights(head, weights)
        return head.to(self.accelerator.device).eval()


def load_weights(head: nn.Module, weights: dict[str, Tensor]) -> None:
    """Raises ValueError where trained weights are missing, or where there are others."""
    missing, unexpected = head.load_state_dict(weights, strict=False)
    trained = {n for n, p in head.named_parameters() if p.requires_grad}
    wrong = sorted(trained.intersection(missing)) + sorted(unexpected)
    if wrong:
        raise ValueError(f"the saved weights are of another head: {', '.join(wrong)}")


def prepare_layers(head: nn.Module, cfg: HeadTrainConfig) -> None:
    """Gradient checkpointing and compilation, as configured."""
    if cfg.gradient_checkpointing:
        if not hasattr(head, "gradient_checkpointing_enable"):
            raise ConfigError("gradient_checkpointing: this head cannot; set it to false")
        head.gradient_checkpointing_enable()
    if cfg.compile:
        # One region a layer: the layers share their code, so one graph serves all of them.
        for blocks in (m for m in head.modules() if isinstance(m, nn.ModuleList)):
            for layer in blocks:
                layer.compile()


def check_gradients(head: nn.Module) -> None:
    """Raise ConfigError where a part of the head is not in the loss: it would never be trained."""
    params = {n: p for n, p in head.named_parameters() if p.requires_grad}
    unused = [n for n, p in params.items() if p.grad is None]
    if unused:
        raise ConfigError(
            f"no gradient reaches {', '.join(unused)}; switch that part off under `model`,"
            " or give its loss a weight"
        )


def seed_step(seed: int, step: int, rank: int) -> None:
    """Random numbers that are a function of these three, so that neither a restart nor an evaluation changes them."""
    torch.manual_seed(Random(f"{seed}/{step}/{rank}").getrandbits(63))


def is_count(name: str) -> bool:
    return name.startswith("num_")


def on_cpu(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """In memory of their own, as safetensors wants them."""
    return {n: t.detach().cpu().contiguous().clone() for n, t in weights.items()}
