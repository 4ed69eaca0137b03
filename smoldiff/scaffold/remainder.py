"""What the cursor is told and what it tells: decisions, gaps, fields, the remainder of a text."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from smoldiff.scaffold.pieces import Branch, Items, Keys, Literal, Repeat, Slot
from smoldiff.schema.pointers import escape


@dataclass(frozen=True, slots=True)
class Choices:
    """Decisions by instance pointer.

    keys: which optional keys an object has. lengths: how many items an array has; at "", how many calls there are.
    branches: which option of a union; at "/0", which tool the first call names. What is not said takes the default:
    required keys only, as few items as may be, option 0, one call. Names and numbers that do not fit are ignored.

    others: the kinds of the members of an object that have no name of their own, by their places in `Keys.others`; the
    n-th has the pointer `member_value(at, n)`. kinds: what a slot for any JSON value holds, by its place in `anything`;
    unsaid, it stays one slot.
    """

    keys: Mapping[str, frozenset[str]] = field(default_factory=lambda: MappingProxyType({}))
    lengths: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    branches: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    others: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: MappingProxyType({}))
    kinds: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))


NO_CHOICES = Choices()


def member_key(at: str, num: int) -> str:
    """The pointer of the slot for the key of an object's `num`-th unnamed member. No real pointer has such a step."""
    return f"{at}/~k{num}"


def member_value(at: str, num: int) -> str:
    """The pointer of an unnamed member's value as long as its key is not known."""
    return f"{at}/~v{num}"


def object_of_key(pointer: str) -> str | None:
    """The object whose unnamed member has its key in the slot at `pointer`; None for a slot that is no key."""
    at, _, step = pointer.rpartition("/")
    return at if step.startswith("~k") else None


def real_pointer(pointer: str, texts: Mapping[str, str]) -> str:
    """A pointer with the keys of unnamed members in it, which stand in `texts` by the pointers of their slots."""
    real, inside = "", ""
    for step in pointer.split("/")[1:]:
        inside += "/" + step
        if step[:2] in ("~k", "~v"):
            slot = f"{inside[: inside.rfind('/')]}/~k{step[2:]}"
            step = escape(json.loads(f'"{texts[slot]}"'))
        real += "/" + step
    return real


@dataclass(frozen=True, slots=True)
class Decision:
    """A choice that the written text took by default or as it was given; a slot here is one for any JSON value."""

    pointer: str
    piece: Keys | Items | Branch | Repeat | Slot
    num_read: int = 0
    """How much of it the prefix holds: entries that are passed, items, or calls."""


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
    decisions: tuple[Decision, ...] = ()
    """The choices inside the text that must follow, from the outside in."""

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
