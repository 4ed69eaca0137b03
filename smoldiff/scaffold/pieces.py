"""The scaffold's tree: text that is certain, slots, and decisions.

Pieces point into the schema. Where a piece stands in an answer (its instance pointer) is worked out by the walk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from smoldiff.schema.needs import Needs
from smoldiff.schema.nodes import Boolean, Enum, Integer, Number, Opaque, String

Language = String | Integer | Number | Boolean | Enum | Opaque


@dataclass(frozen=True, slots=True)
class Literal:
    """Certain text; `is_special` for a text that the tokenizer may hold as one special token."""

    text: str
    is_special: bool = False


@dataclass(frozen=True, slots=True)
class Slot:
    """One value to fill: what stands between the quotes of a string, else the whole JSON text of the value."""

    pointer: str
    language: Language
    is_cut: bool = False
    """Whether it stands for a part that is too large or too deep to be written out."""


@dataclass(frozen=True, slots=True)
class Sequence:
    """Parts one after another."""

    parts: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of an object. `text` is the key as JSON, with its quotes."""

    key: str
    text: str
    value: Piece
    is_required: bool


@dataclass(frozen=True, slots=True)
class OtherKeys:
    """A kind of members whose keys are slots themselves."""

    keys: Slot
    value: Piece


@dataclass(frozen=True, slots=True)
class Keys:
    """An object with its braces, keys in writing order; members of `others` may follow after the last."""

    pointer: str
    entries: tuple[Entry, ...]
    others: tuple[OtherKeys, ...] = ()
    min_keys: int = 0
    max_keys: int | None = None
    forbidden: tuple[str, ...] = ()
    """Keys that no member of `others` may have, beside those of the entries."""
    needs: Needs = ()

    @property
    def is_open(self) -> bool:
        return bool(self.others)


@dataclass(frozen=True, slots=True)
class Items:
    """An array with its brackets: `prefix` by position, then `item`; None there lets nothing follow the prefix.

    Each of `contained` is written once behind the prefix, as the last items.
    """

    pointer: str
    prefix: tuple[Piece, ...]
    item: Piece | None
    min_items: int
    max_items: int | None
    contained: tuple[Piece, ...] = ()
    is_unique: bool = False

    @property
    def fewest(self) -> int:
        """The smallest number of items that is written."""
        behind = len(self.prefix) + len(self.contained) if self.contained else 0
        return max(self.min_items, behind)

    @property
    def most(self) -> int | None:
        return len(self.prefix) if self.item is None else self.max_items


@dataclass(frozen=True, slots=True)
class Branch:
    """One of several options, each with a label for people and the text that it surely begins with."""

    pointer: str
    options: tuple[Piece, ...]
    labels: tuple[str, ...]
    heads: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """One or more calls, one after another; the number is a decision at the instance pointer ""."""

    item: Piece
    between: Piece
    max_count: int


Piece = Literal | Slot | Sequence | Keys | Items | Branch | Repeat


def holds_content(language: Language) -> bool:
    """Whether a slot holds what stands between quotes: a string, or an enumeration of nothing but strings."""
    if isinstance(language, Enum):
        return all(text.startswith('"') for text in language.texts)
    return isinstance(language, String)


def parts_of(piece: Piece) -> tuple[Piece, ...]:
    """The pieces directly inside a piece."""
    match piece:
        case Literal() | Slot():
            return ()
        case Sequence():
            return piece.parts
        case Keys():
            values = [entry.value for entry in piece.entries]
            return (*values, *(part for kind in piece.others for part in (kind.keys, kind.value)))
        case Items():
            rest = () if piece.item is None else (piece.item,)
            return (*piece.prefix, *rest, *piece.contained)
        case Branch():
            return piece.options
        case Repeat():
            return (piece.item, piece.between) if piece.max_count > 1 else (piece.item,)
        case _:
            assert_never(piece)
