"""What a run leaves behind: its state, and its weights as a plain model folder."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import torch

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
