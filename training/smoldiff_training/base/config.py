"""The configuration of a base model's training: `kind: base`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from smoldiff_training.config import (
    ConfigError,
    Count,
    CountOrZero,
    Positive,
    PositiveOrZero,
    Share,
    check_limit,
)


@dataclass(frozen=True, slots=True)
class ModelConfig:
    hidden_size: Count = 256
    num_layers: Count = 12
    num_heads: Count = 4
    num_kv_heads: Count = 2
    head_dim: Count = 64
    intermediate_size: Count = 640
    max_positions: Count = 4096
    rope_theta: Positive = 100_000.0
    no_rope_layer_interval: Count = 4
    max_parameters: Count = 10_485_760  # 20 MiB in bf16


@dataclass(frozen=True, slots=True)
class DataConfig:
    train: str
    dev: str
    mcp_tools: str
    tokenizer: str
    tokens_per_step: Count = 65_536  # in each process
    max_document_tokens: Count = 2048
    max_documents: Count = 512  # in one packed row
    loss_share: Share = 0.3  # share of positions whose logits are computed
    num_workers: CountOrZero = 0  # in each process; 0 loads in the training process itself
    synthetic_share: Share = 0.17
    no_call_share: Share = 0.04
    prefetch: Count = 8
    num_rows: CountOrZero = 0  # read only the first rows; 0 reads all


@dataclass(frozen=True, slots=True)
class OptimConfig:
    muon_lr: Positive = 0.004
    adam_lr: Positive = 0.003
    weight_decay: PositiveOrZero = 0.05
    max_grad_norm: Positive = 1.0
    prompt_weight: PositiveOrZero = (
        0.2  # of each sampled prompt position, against 1 for a call position
    )
    warmup_share: Share = 0.01
    decay_share: Share = 0.6  # the last part of the budget, over which the rate falls to zero
    max_steps: CountOrZero = 0  # 0: no limit
    max_seconds: PositiveOrZero = 0.0  # 0: no limit; the schedule follows whichever limit is nearer


@dataclass(frozen=True, slots=True)
class BaseTrainConfig:
    kind: Literal["base"]
    out: str
    data: DataConfig
    model: ModelConfig = field(default_factory=ModelConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    init: str = ""  # a model folder whose weights to start from; its shape must be `model`
    seed: int = 0
    compile: bool = True
    resume: bool = True  # go on from `out` where it holds a checkpoint
    log_every: Count = 50
    checkpoint_every_s: PositiveOrZero = 120.0
    eval_rows: CountOrZero = 600
    eval_batch: Count = 100

    def check(self) -> None:
        """Raise ConfigError where two values do not go together."""
        check_limit(self.optim.max_steps, self.optim.max_seconds)
        if self.data.max_document_tokens > min(self.data.tokens_per_step, self.model.max_positions):
            raise ConfigError(
                "data.max_document_tokens: more than tokens_per_step or model.max_positions; lower it"
            )
