"""What a run leaves behind: its state, its weights as a plain model folder, and its conditions."""

from __future__ import annotations

import copy
import json
import os
import platform
import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from smoldiff_training.base.config import BaseTrainConfig
from smoldiff_training.base.model import eager_layers

STATE = "checkpoint.pt"
MAX_SHARD = "14MB"  # what holds the repository refuses files of 15 MiB and more


def save_checkpoint(out: Path, model: Any, optimizers: Any, state: dict[str, Any]) -> None:
    """Everything that a restart needs, written whole or not at all."""
    whole = {"model": model.state_dict(), "optimizers": optimizers.state_dict(), **state}
    part = out / f"{STATE}.part"
    torch.save(whole, part)
    os.replace(part, out / STATE)


def load_checkpoint(out: Path) -> dict[str, Any] | None:
    """The state saved in `out`, or None where there is none."""
    path = out / STATE
    return torch.load(path, map_location="cpu", weights_only=True) if path.is_file() else None


def export_model(out: Path, model: Any, tokenizer: Any) -> None:
    """A folder that `from_pretrained` opens: bf16 weights, and rotary frequencies left in float32."""
    with eager_layers(model):
        plain = copy.deepcopy(model).cpu()
    for p in plain.parameters():
        p.data = p.data.to(torch.bfloat16)
    plain.config.dtype = "bfloat16"
    plain.config._attn_implementation = "sdpa"
    plain.generation_config.eos_token_id = tokenizer.eos_token_id
    plain.save_pretrained(out, max_shard_size=MAX_SHARD)
    tokenizer.save_pretrained(out)
    for path in out.iterdir():
        path.chmod(0o644)


def write_conditions(out: Path, cfg: BaseTrainConfig) -> None:
    """The configuration, command, seed and versions of this run."""
    names = ("torch", "transformers", "tokenizers", "accelerate")
    device = torch.cuda.get_device_name(0) if torch.cuda.is_available() else platform.machine()
    conditions = {
        "config": asdict(cfg),
        "command": " ".join(sys.argv[1:]),
        "seed": cfg.seed,
        "python": platform.python_version(),
        "versions": {name: version(name) for name in names},
        "devices": f"{max(torch.cuda.device_count(), 1)} x {device}",
    }
    (out / "run.json").write_text(json.dumps(conditions, indent=2) + "\n", encoding="utf-8")
