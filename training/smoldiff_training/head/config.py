"""The configuration of a diffusion head's training: `kind: head`."""

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
    ShareBelowOne,
    check_limit,
)

Format = Literal[
    "smoldiff",
    "hermes",
    "xlam",
    "glaive",
    "apigen_mt",
    "when2call",
    "nestful",
    "argilla_apigen",
]


@dataclass(frozen=True, slots=True)
class SourceConfig:
    """One place that rows come from."""

    format: Format
    path: str  # a file, a folder, or owner/name[:config][@split] on the Hugging Face hub
    weight: Positive = 1.0  # how often a row of it is drawn, relative to 1
    limit: CountOrZero = 0  # rows read at most; 0: all


@dataclass(frozen=True, slots=True)
class HeadDataConfig:
    sources: tuple[SourceConfig, ...]
    dev: str  # the project's format; scored during training, never trained on
    exclude: tuple[str, ...] = ()
    """Evaluation files in the project's format: a row with the last user words and tools of theirs is left out."""
    mcp_tools: str = ""  # real tool schemas, the seeds of synthetic rows; "": none
    cache: str = "runs/cache"
    num_rows: CountOrZero = 0  # training targets built in all, drawn by weight; 0: each row once
    synthetic_share: ShareBelowOne = 0.15
    augment: bool = True
    top_k: Count = 8  # of the base's logits kept a position; the rest is one mass
    max_prompt_tokens: Count = 1536
    batch_examples: Count = 128  # a step, over all processes
    moments: Count = (
        1  # played of each answer behind one pass over its prompt, which is most of the work
    )
    num_workers: CountOrZero = 0  # in each process; 0 builds batches in the training process itself
    target_processes: Count = 1
    target_batch: Count = 64
    is_confirmed_only: bool = (
        False  # leave out rows whose own call the base does not write: no decoding
    )
    target_dtype: Literal["auto", "float32", "bfloat16"] = "auto"  # auto: float32 for a small base


@dataclass(frozen=True, slots=True)
class HeadModelConfig:
    """The head's sizes and parts. 0 takes the base's size."""

    num_layers: Count = 3
    hidden_size: CountOrZero = 0
    num_heads: CountOrZero = 0
    num_kv_heads: CountOrZero = 0
    head_dim: CountOrZero = 0
    intermediate_size: CountOrZero = 0  # 0: derived from the base's
    num_taps: Count = 5  # base layers whose states the head reads
    markov_rank: Count = 256
    copy_dim: Count = 128
    max_slot_positions: Count = 32
    has_template_states: bool = True
    has_anchor: bool = True
    has_markov: bool = True
    has_copy: bool = True
    has_confidence: bool = True
    has_slot_positions: bool = True
    has_null_row: bool = True
    has_tool_guess: bool = True


@dataclass(frozen=True, slots=True)
class NoiseConfig:
    """What is hidden from the head, and what it is misled by. Shares are of examples."""

    full_mask_share: Share = 0.6  # every slot position masked, as in the first draft
    prefix_share: Share = (
        0.2  # a prefix visible, as after a verify pass; the rest are masked at random
    )
    complementary: bool = True  # a random mask comes with its complement
    budget_jitter: CountOrZero = 4  # positions by which a slot's budget varies
    wrong_tool_share: Share = 0.15
    no_scaffold_share: Share = 0.05
    redraft_share: Share = 0.35
    null_share: Share = 1.0  # of the positions behind a slot's end, those that are learned


@dataclass(frozen=True, slots=True)
class LossConfig:
    ce_weight: PositiveOrZero = 1.0  # cross entropy to the label
    tv_weight: PositiveOrZero = 0.0  # total variation to the base's distribution
    null_weight: PositiveOrZero = 0.5  # of a NULL position, against 1 for a token
    reach_alpha: PositiveOrZero = (
        0.5  # power of the chance that a position is reached; 0: all alike
    )
    confidence_weight: PositiveOrZero = 0.2
    decision_weight: PositiveOrZero = 1.0
    guess_weight: PositiveOrZero = 1.0  # of the tool guess
    label_smoothing: ShareBelowOne = 0.0
    entropy_weight: PositiveOrZero = 0.0  # over the base's best tokens and one rest
    mdlm_weighting: bool = False  # each position by one over the share that is masked
    chunk_rows: Count = 4096  # masked positions whose pointers are held at once


@dataclass(frozen=True, slots=True)
class HeadOptimConfig:
    optimizer: Literal["auto", "muon", "adamw"] = "auto"  # auto: muon on several GPUs, else adamw
    muon_lr: Positive = 0.004
    adam_lr: Positive = 0.001
    weight_decay: PositiveOrZero = 0.01
    max_grad_norm: Positive = 1.0
    schedule: Literal["onecycle", "cosine", "wsd"] = "onecycle"
    warmup_share: Share = 0.05
    decay_share: Share = 0.3  # wsd only: the last part of the budget, over which the rate falls
    final_factor: Share = 0.0  # what the rate falls to, as a share of its peak
    accumulation: Count = 1  # batches a step
    ema_decay: ShareBelowOne = 0.0  # 0: no moving average
    max_steps: CountOrZero = 0  # 0: no limit
    max_seconds: PositiveOrZero = 0.0  # 0: no limit; the schedule follows whichever limit is nearer


@dataclass(frozen=True, slots=True)
class HeadTrainConfig:
    kind: Literal["head"]
    base: str  # as smoldiff.load takes it
    out: str
    data: HeadDataConfig
    model: HeadModelConfig = field(default_factory=HeadModelConfig)
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: HeadOptimConfig = field(default_factory=HeadOptimConfig)
    seed: int = 0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    compile: bool = False
    gradient_checkpointing: bool = False
    resume: bool = True  # go on from `out` where it holds a checkpoint
    init: str = ""  # a head to start from
    sharding: Literal["ddp", "fsdp2"] = "ddp"
    reduce_dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the gradients on their way between processes; bfloat16 pays where no NVLink joins the GPUs."""
    log_every: Count = 50
    checkpoint_every_s: PositiveOrZero = 120.0
    eval_every_s: PositiveOrZero = 0.0  # 0: at the end only
    eval_rows: CountOrZero = 64
    tracker: Literal["tensorboard", "wandb", "none"] = "tensorboard"

    def check(self) -> None:
        """Raise ConfigError where two values do not go together."""
        check_limit(self.optim.max_steps, self.optim.max_seconds)
        if not self.data.sources:
            raise ConfigError("data.sources: empty; give at least one, with `format` and `path`")
        if self.noise.full_mask_share + self.noise.prefix_share > 1:
            raise ConfigError(
                "noise: full_mask_share and prefix_share are more than 1 together; lower one"
            )
        if not (self.loss.ce_weight or self.loss.tv_weight):
            raise ConfigError(
                "loss: ce_weight and tv_weight are both 0; set one, or nothing is learned"
            )
        check_rates(self.optim)
        check_heads(self.model)


def check_rates(optim: HeadOptimConfig) -> None:
    if optim.schedule == "wsd" and optim.warmup_share + optim.decay_share > 1:
        raise ConfigError("optim: warmup_share and decay_share are more than 1 together; lower one")


def check_heads(model: HeadModelConfig) -> None:
    if model.num_heads and model.num_kv_heads and model.num_heads % model.num_kv_heads:
        raise ConfigError(
            f"model.num_heads: {model.num_heads} is no multiple of num_kv_heads,"
            f" {model.num_kv_heads}; change one"
        )
