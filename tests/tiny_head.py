"""A stand-in for the diffusion head: two layers, a table and a few odd matrices, trained on random numbers."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate.state import AcceleratorState
from safetensors.torch import save_file
from torch import Tensor, nn

from smoldiff_training.config import from_mapping
from smoldiff_training.head.config import HeadTrainConfig
from smoldiff_training.head.learner import Parts

WIDTH, NUM_ROWS, EXAMPLES = 8, 12, 8


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(WIDTH, 3 * WIDTH)
        self.down = nn.Linear(3 * WIDTH, WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(self.up(x).tanh())


class TinyHead(nn.Module):
    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.table = nn.Embedding(NUM_ROWS, WIDTH)
        self.layers = nn.ModuleList(Layer() for _ in range(2))
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(WIDTH, 1)
        self.is_checkpointing = False

    def table_parameters(self) -> list[nn.Parameter]:
        return [self.table.weight]

    def gradient_checkpointing_enable(self) -> None:
        self.is_checkpointing = True

    def forward(self, ids: Tensor) -> Tensor:
        x = self.table(ids)
        for layer in self.layers:
            x = self.dropout(layer(x))
        return self.out(x)[:, 0]

    def save_pretrained(self, folder: Path) -> None:
        Path(folder).mkdir(exist_ok=True)
        save_file(self.state_dict(), Path(folder) / "head.safetensors")


class TinyLoss(nn.Module):
    def __init__(self, head: TinyHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        miss = (self.head(batch["ids"]).float() - batch["targets"]).square()
        return miss.mean(), {
            "worst": miss.detach().mean(),
            "num_positions": torch.tensor(len(batch["ids"])),
        }


def batch(number: int, examples: int = EXAMPLES) -> dict[str, Tensor]:
    """All examples of a batch, over all processes."""
    generator = torch.Generator().manual_seed(number)
    ids = torch.randint(NUM_ROWS, (examples,), generator=generator)
    return {
        "ids": ids,
        "targets": (ids % 5).float() + 0.1 * torch.randn(examples, generator=generator),
    }


def batches(first: int, rank: int, num_ranks: int) -> Iterator[dict[str, Tensor]]:
    number = first
    while True:
        yield {k: v[rank::num_ranks] for k, v in batch(number).items()}
        number += 1


def config(out: Path, optim: dict[str, object] | None = None, **more: object) -> HeadTrainConfig:
    raw = {
        "kind": "head",
        "base": "none",
        "out": str(out),
        "data": {"sources": [{"format": "smoldiff", "path": "none"}], "dev": "none"},
        "optim": {"max_steps": 30, "muon_lr": 0.02, "adam_lr": 0.01, **(optim or {})},
        "log_every": 1,
        "checkpoint_every_s": 1e-9,
        "tracker": "none",
        **more,
    }
    cfg: HeadTrainConfig = from_mapping(HeadTrainConfig, raw)
    cfg.check()
    return cfg


def score(head: TinyHead, step: int) -> dict[str, float]:
    """Draws random numbers, as an evaluation may."""
    with torch.no_grad():
        right = batch(-1 % 2**31)
        return {
            "miss": float((head(right["ids"]) - right["targets"]).abs().mean() + 0 * torch.rand(()))
        }


def builder(dropout: float = 0.0, **parts: Callable) -> Callable:
    """What `train` takes as `build`; `parts` replace the usual ones."""

    def build(cfg: HeadTrainConfig, accelerator: Any) -> Parts:
        # Only the first process's weights count.
        torch.manual_seed(cfg.seed + accelerator.process_index)
        head = TinyHead(dropout)
        return replace(Parts(head, TinyLoss(head), batches, score), **parts)

    return build


def forget_processes() -> None:
    """Accelerate keeps its state for as long as the process lives."""
    AcceleratorState._reset_state(reset_partial_state=True)


def as_rank(rank: int, num_ranks: int, port: int) -> None:
    """Be one of some processes on this machine, as `accelerate launch` would set it up."""
    places = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": num_ranks, "MASTER_PORT": port}
    os.environ.update({k: str(v) for k, v in places.items()}, MASTER_ADDR="127.0.0.1")
    os.environ["ACCELERATE_USE_CPU"] = "true"
    os.environ["OMP_NUM_THREADS"] = "1"  # unset, accelerate sets it and warns
