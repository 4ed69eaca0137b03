"""Deterministic automata over bytes, as tables: what every slot language becomes before it meets a tokenizer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DEAD = -1


@dataclass(frozen=True, eq=False)
class Dfa:
    """A language of byte strings. State 0 is the start; from every state some accepted string can be reached.

    The empty language has no states at all.
    """

    table: NDArray[np.int32]
    """[states, 256]: the state behind each byte, DEAD where none."""
    accepts: NDArray[np.bool_]
    """[states]: whether a string may end there."""

    @property
    def is_empty(self) -> bool:
        return not len(self.accepts)

    def matches(self, data: bytes) -> bool:
        """Whether the whole of `data` is in the language."""
        state = DEAD if self.is_empty else 0
        for byte in data:
            if state == DEAD:
                return False
            state = int(self.table[state, byte])
        return state != DEAD and bool(self.accepts[state])
