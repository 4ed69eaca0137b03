"""From a chance as it is computed to one that is right as often as it says (Platt, 1999)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from smoldiff.errors import ModelError


@dataclass(frozen=True, slots=True)
class Calibration:
    """A line over log-odds, fitted once on answers whose right values are known."""

    scale: float = 1.0
    offset: float = 0.0

    def __post_init__(self) -> None:
        """Raises ModelError for what is no rising line: a surer value must stay the surer one."""
        for value in (self.scale, self.offset):
            if type(value) not in (int, float) or not math.isfinite(value):
                raise ModelError(f"a head's calibration={self!r}: expected two finite numbers")
        if self.scale <= 0:
            raise ModelError(f"a head's calibration={self!r}: expected a scale above 0")

    def applied(self, chance: float) -> float:
        """The chance put right; 0 and 1 stay what they are."""
        if not 0 < chance < 1:
            return chance
        log_odds = self.scale * (math.log(chance) - math.log1p(-chance)) + self.offset
        odds = math.exp(-abs(log_odds))
        return (odds if log_odds < 0 else 1.0) / (1 + odds)


NEUTRAL = Calibration()
