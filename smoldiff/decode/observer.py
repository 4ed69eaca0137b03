"""Who is shown how an answer comes about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from smoldiff.decode.denoise import SlotFill
    from smoldiff.scaffold.remainder import Remainder


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one pass of the base said to a draft; the four texts follow one another."""

    written: str
    """What was written before."""
    accepted: str
    """What of the draft was right."""
    own: str
    """The base's own next token, in place of the draft's or behind its end; "" where the answer ended."""
    refused: str
    """The rest of the draft."""


class Observer(Protocol):
    """A display, for one answer at a time. Its time counts as that of drafting and verifying."""

    def opened(self, written: str, rest: Remainder) -> None:
        """What follows the text of an answer, before its slots are filled; the first of a head is its sketch."""

    def filled(self, step: int, fills: Sequence[SlotFill]) -> None:
        """What stands in the slots after a denoise step; steps are counted from 0."""

    def verified(self, verdict: Verdict) -> None:
        """What a pass of the base made of a draft."""


METHODS = ("opened", "filled", "verified")
