"""What is asked of a process, and the line that comes back."""

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from calls.conditions import commit, device_name, installed


@dataclass(frozen=True, slots=True)
class Setting:
    """How a head is trained."""

    optimizer: str
    batch_per_gpu: int
    reduce_dtype: str = "float32"
    sharding: str = "ddp"
    accumulation: int = 1


@dataclass(frozen=True, slots=True)
class Job:
    """Settings that some processes time one after the other, on one base."""

    shape: str
    steps: int
    warm_up: int
    out: str
    compile: bool = False
    head: Mapping[str, int] = field(default_factory=dict)
    settings: tuple[Setting, ...] = ()

    @classmethod
    def read(cls, path: Path) -> "Job":
        raw = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{**raw, "settings": tuple(Setting(**one) for one in raw["settings"])})

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Row:
    """One setting on some GPUs. Times are of a step, bytes of one process; `peak_bytes` is the largest of all."""

    shape: str
    gpus: int
    optimizer: str
    batch_per_gpu: int
    accumulation: int
    reduce_dtype: str
    sharding: str
    steps: int
    warm_up: int
    compile: bool
    device: str
    dtype: str
    python: str
    torch: str
    transformers: str | None
    accelerate: str | None
    nccl: str | None
    commit: str | None
    tokens_per_s: float = 0.0
    """Fed to the base, over all GPUs; without padding."""
    positions_per_s: float = 0.0
    """Queries put to the head."""
    step_ms: float = 0.0
    """The median; from the end of a step to the end of the next one, on the device."""
    step_p10_ms: float = 0.0
    step_p90_ms: float = 0.0
    wall_ms: float = 0.0
    """The mean by the wall clock, of the slowest process; the rates are made of it."""
    base_ms: float = 0.0
    """The frozen base's forward pass alone."""
    peak_bytes: int = 0
    num_head_parameters: int = 0
    num_base_parameters: int = 0
    reduced_bytes: int = 0
    """Sent by each process to sum the gradients."""
    gathered_bytes: int = 0
    """Sent by each process to share what Muon computed."""
    loss: float = 0.0
    efficiency: float | None = None
    """Tokens a second of each GPU, against one GPU alone with the same optimiser and batch."""

    @classmethod
    def of(cls, job: Job, setting: Setting, accelerator: Any) -> "Row":
        """The conditions, without a number."""
        on_gpu = accelerator.device.type == "cuda"
        return cls(
            shape=job.shape,
            gpus=accelerator.num_processes,
            **asdict(setting),
            steps=job.steps,
            warm_up=job.warm_up,
            compile=job.compile,
            device=device_name(accelerator.device),
            dtype="bfloat16" if accelerator.mixed_precision == "bf16" else "float32",
            python=platform.python_version(),
            torch=torch.__version__,
            transformers=installed("transformers"),
            accelerate=installed("accelerate"),
            nccl=".".join(map(str, torch.cuda.nccl.version())) if on_gpu else None,
            commit=commit(),
        )
