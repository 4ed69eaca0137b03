"""A head's shape, and the base that it belongs to."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from smoldiff.errors import HeadMismatch, ModelError
from smoldiff.head.calibration import NEUTRAL, Calibration

FORMAT = 1
"""Raised when a head of the same configuration would compute something else."""


@dataclass(frozen=True, slots=True)
class BaseFacts:
    """What a head knows of its base; all of it must be the same where the head is used."""

    name: str
    revision: str
    """The commit it was loaded from; "" for a folder."""
    architecture: str
    hidden_size: int
    vocab_size: int
    num_layers: int
    tokenizer_hash: str
    template_style: str
    """How the base writes a call: its frame, keys and separators."""


MUST_AGREE = (
    "architecture",
    "hidden_size",
    "vocab_size",
    "num_layers",
    "tokenizer_hash",
    "template_style",
)
"""The facts that decide whether a head fits; a name may change when a folder is moved."""
COUNTS = (
    "hidden_size",
    "num_layers",
    "num_heads",
    "num_kv_heads",
    "head_dim",
    "intermediate_size",
    "markov_rank",
    "copy_dim",
    "max_slot_positions",
)
CALIBRATIONS = ("verified_calibration", "diffusion_calibration")


@dataclass(frozen=True, slots=True)
class HeadConfig:
    """Sizes and parts of a head. The parts that can be switched off are those of the ablation table."""

    base: BaseFacts
    taps: tuple[int, ...]
    """Base layers whose outputs the head reads, counted from 1; the last one is read behind the final norm."""
    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate_size: int
    markov_rank: int = 256
    copy_dim: int = 128
    max_slot_positions: int = 32
    """Positions that a slot is given at first; it grows where they do not do."""
    rope_theta: float = 10_000.0
    has_template_states: bool = True
    """Whether the base's states at the drafted text are read, or those of the prompt alone."""
    has_anchor: bool = True
    """Whether a slot starts from the base's state in front of it and from the base's own next token."""
    has_markov: bool = True
    has_copy: bool = True
    has_confidence: bool = True
    has_slot_positions: bool = True
    has_null_row: bool = True
    """Whether NULL has a row of its own; without, an unused row of the base's vocabulary stands for it."""
    has_tool_guess: bool = True
    """Whether the head also guesses the tool that the first draft names."""
    verified_calibration: Calibration = NEUTRAL
    """For chances that the base gives its own values."""
    diffusion_calibration: Calibration = NEUTRAL
    """For those that the head gives its values, in mode "diffusion"."""
    format: int = FORMAT

    def __post_init__(self) -> None:
        """Raises ModelError for sizes that make no head."""
        for name in COUNTS:
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise ModelError(f"a head's {name}={value!r}: expected a whole number from 1 on")
        if self.num_heads % self.num_kv_heads or self.head_dim % 2:
            raise ModelError(
                f"a head's num_heads={self.num_heads} must be a multiple of num_kv_heads={self.num_kv_heads}, "
                f"and head_dim={self.head_dim} even"
            )
        last = self.base.num_layers
        if self.taps[-1:] != (last,) or self.taps != tuple(
            n for n in range(1, last + 1) if n in self.taps
        ):
            raise ModelError(
                f"a head's taps={self.taps!r}: expected layers of the base in their order, from 1 on, "
                f"the last one, {last}, among them"
            )

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, raw: Any) -> HeadConfig:
        """Raises ModelError for what is no configuration of a head that this version can run."""
        if not isinstance(raw, Mapping):
            raise ModelError("the head's configuration cannot be read: expected a JSON object")
        if raw.get("format") != FORMAT:
            raise ModelError(
                f"the head's format is {raw.get('format')!r}, this version reads {FORMAT}; "
                "use the smoldiff version that trained it, or train it anew"
            )
        try:
            parts: dict[str, Any] = {
                name: Calibration(**raw[name]) for name in CALIBRATIONS if name in raw
            }
            parts |= {"base": BaseFacts(**raw["base"]), "taps": tuple(raw["taps"])}
            return cls(**{**raw, **parts})
        except (KeyError, TypeError) as problem:
            raise ModelError(f"the head's configuration cannot be read: {problem}") from None

    def check(self, found: BaseFacts) -> None:
        """Raises HeadMismatch unless the head was made for a base like this."""
        for name in MUST_AGREE:
            mine, theirs = getattr(self.base, name), getattr(found, name)
            if mine != theirs:
                raise HeadMismatch(name, mine, theirs, self.base.name, found.name)


def default_taps(num_layers: int, num_taps: int) -> tuple[int, ...]:
    """Layers spread evenly over the base, the last one among them."""
    num_taps = max(1, min(num_taps, num_layers))
    return tuple(round(num_layers * (i + 1) / num_taps) for i in range(num_taps))
