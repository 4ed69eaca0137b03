"""What the cursor is told and what it tells: decisions, gaps, fields, the remainder of a text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from smoldiff.scaffold.pieces import Literal, Slot


@dataclass(frozen=True, slots=True)
class Choices:
    """Decisions by instance pointer.

    keys: which optional keys an object has. lengths: how many items an array has; at "", how many calls there are.
    branches: which option of a union; at "/0", which tool the first call names. What is not said takes the default:
    required keys only, as few items as may be, option 0, one call. Names and numbers that do not fit are ignored.
    """

    keys: Mapping[str, frozenset[str]] = field(default_factory=lambda: MappingProxyType({}))
    lengths: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    branches: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))


NO_CHOICES = Choices()


@dataclass(frozen=True, slots=True)
class Gap:
    """A slot yet to be filled at an instance pointer; `written` is what the prefix already holds of it."""

    pointer: str
    slot: Slot
    written: str


@dataclass(frozen=True, slots=True)
class Field:
    """A slot's text inside the prefix, by character; `is_done` when it is known to end there."""

    pointer: str
    start: int
    end: int
    is_done: bool


@dataclass(frozen=True, slots=True)
class Remainder:
    """What must follow a prefix, the slots inside it, and the decisions it took over those that were given."""

    pieces: tuple[Literal | Gap, ...]
    fields: tuple[Field, ...]
    choices: Choices

    @property
    def is_complete(self) -> bool:
        """Whether the prefix is a whole text. A bare number never is: one more digit might follow."""
        return not self.pieces

    def text(self, fill: Callable[[Gap], str]) -> str:
        """The text that follows the prefix, each gap filled by what `fill` adds behind `gap.written`."""
        return "".join(
            piece.text if isinstance(piece, Literal) else fill(piece) for piece in self.pieces
        )


class NotAPrefix(Exception):
    """No text of the scaffold begins like this; `index` is the first character that could not be read."""

    def __init__(self, index: int) -> None:
        self.index = index
        super().__init__(f"no text of the scaffold goes on like this at character {index}")
