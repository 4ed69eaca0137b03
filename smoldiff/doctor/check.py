"""One thing that was looked at, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warn", "missing"]
Ability = Literal["serve", "train"]


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    status: Status
    found: str
    todo: str = ""
    """What to change; "" where all is well."""
    blocks: tuple[Ability, ...] = ()
    """What cannot be done as long as this is so."""
