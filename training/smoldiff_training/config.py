"""A training run's configuration: YAML in, frozen dataclasses out, checked before anything loads."""

from __future__ import annotations

import dataclasses
import difflib
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class ConfigError(Exception):
    """The configuration is at fault; the message names the key and the nearest right one."""


@dataclass(frozen=True, slots=True)
class ModelConfig:
    hidden_size: int = 256
    num_layers: int = 12
    num_heads: int = 4
    num_kv_heads: int = 2
    head_dim: int = 64
    intermediate_size: int = 640
    max_positions: int = 4096
    rope_theta: float = 100_000.0
    no_rope_layer_interval: int = 4
    max_parameters: int = 10_485_760  # 20 MiB in bf16


@dataclass(frozen=True, slots=True)
class DataConfig:
    train: str
    dev: str
    mcp_tools: str
    tokenizer: str
    tokens_per_step: int = 65_536  # in each process
    max_document_tokens: int = 2048
    max_documents: int = 512  # in one packed row
    loss_share: float = 0.3  # share of positions whose logits are computed
    num_workers: int = 0  # in each process; 0 loads in the training process itself
    synthetic_share: float = 0.17
    no_call_share: float = 0.04
    prefetch: int = 8
    num_rows: int = 0  # read only the first rows; 0 reads all


@dataclass(frozen=True, slots=True)
class OptimConfig:
    muon_lr: float = 0.004
    adam_lr: float = 0.003
    weight_decay: float = 0.05
    max_grad_norm: float = 1.0
    prompt_weight: float = 0.2  # of each sampled prompt position, against 1 for a call position
    warmup_share: float = 0.01
    decay_share: float = 0.6  # the last part of the budget, over which the rate falls to zero
    max_steps: int = 0  # 0: no limit
    max_seconds: float = 0.0  # 0: no limit; the schedule follows whichever limit is nearer


@dataclass(frozen=True, slots=True)
class TrainConfig:
    kind: str
    out: str
    data: DataConfig
    model: ModelConfig = field(default_factory=ModelConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    init: str = ""  # a model folder whose weights to start from; its shape must be `model`
    seed: int = 0
    compile: bool = True
    resume: bool = True  # go on from `out` where it holds a checkpoint
    log_every: int = 50
    checkpoint_every_s: float = 120.0
    eval_rows: int = 600
    eval_batch: int = 100


def from_mapping(cls: type, raw: object, at: str = "") -> Any:
    """`raw` as a `cls`. Raises ConfigError on an unknown or missing key or a value of the wrong type."""
    if not isinstance(raw, dict):
        raise ConfigError(f"{at or 'the file'}: expected keys and values, found {raw!r}")
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}
    for key in raw:
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(fields)}"
            raise ConfigError(f"{at}{key}: no such key; {hint}")
    values = {}
    for name, f in fields.items():
        if name in raw:
            values[name] = checked(hints[name], raw[name], f"{at}{name}")
        elif f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{at}{name}: missing; add it")
    return cls(**values)


def checked(hint: Any, value: object, at: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return from_mapping(typing.cast(type, hint), value, f"{at}.")
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise ConfigError(f"{at}: expected {hint.__name__}, found {value!r}")
    return value


def read_config(path: Path) -> TrainConfig:
    """The configuration in a YAML file, checked. Raises ConfigError."""
    import yaml

    if not path.is_file():
        raise ConfigError(f"{path}: no such file")
    cfg: TrainConfig = from_mapping(TrainConfig, yaml.safe_load(path.read_text(encoding="utf-8")))
    if cfg.kind != "base":
        raise ConfigError(f"kind: {cfg.kind!r} is not known; use 'base'")
    if not (cfg.optim.max_steps or cfg.optim.max_seconds):
        raise ConfigError("optim: set max_steps or max_seconds, or training never ends")
    if cfg.data.max_document_tokens > min(cfg.data.tokens_per_step, cfg.model.max_positions):
        raise ConfigError(
            "data.max_document_tokens: more than tokens_per_step or model.max_positions; lower it"
        )
    return cfg
