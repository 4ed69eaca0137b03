"""The state of a walk: what of the prefix is read, what was found in it, and what must be written after it."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from smoldiff.scaffold.language import read_slot
from smoldiff.scaffold.pieces import Branch, Items, Keys, Literal, Repeat, Slot
from smoldiff.scaffold.remainder import Choices, Field, Gap, NotAPrefix
from smoldiff.scaffold.style import JsonStyle

Deciding = Keys | Items | Branch | Repeat | Slot
Mark = tuple[int, ...]  # how far a walk was: the position, then the length of each list
Found = tuple[int, list[list[Any]]]  # where a read ended, then what it added to each list


class Care(IntEnum):
    """How closely a prefix is read; what is more careful tells options of a union apart better."""

    LOOSE = 0  # patterns, formats and multiples are not looked at
    EXACT = 1  # they are
    NAMED = 2  # and an option of a union may not hold keys that it does not name


class Reading:
    """While `pos` is inside the text, pieces are read from it; from its end on they are written."""

    def __init__(self, text: str, given: Choices, style: JsonStyle, care: Care) -> None:
        self.text, self.end, self.pos = text, len(text), 0
        self.given, self.style, self.care = given, style, care
        self.written: list[str | Literal | Gap] = []
        self.fields: list[Field] = []
        self.keys: list[tuple[str, frozenset[str]]] = []
        self.lengths: list[tuple[str, int]] = []
        self.branches: list[tuple[str, int]] = []
        self.decisions: list[tuple[str, Deciding, int]] = []
        self.furthest = 0

    @property
    def is_reading(self) -> bool:
        return self.pos < self.end

    def fail(self, num_read: int = 0) -> NotAPrefix:
        """The error for a text that cannot go on here, or `num_read` characters after here."""
        self.furthest = max(self.furthest, self.pos + num_read)
        return NotAPrefix(self.furthest)

    def agrees(self, text: str, start: int) -> bool:
        """Whether the prefix from `start` on goes on with `text`, or breaks off inside it."""
        if self.text.startswith(text, start):
            return True
        return self.end - start < len(text) and text.startswith(self.text[start:])

    def literal(self, text: str, whole: Literal | None = None) -> None:
        """Read or write certain text; `whole` is the piece that it makes up, if it must stay one."""
        if self.pos == self.end:
            self.written.append(text if whole is None or not whole.is_special else whole)
        elif self.text.startswith(text, self.pos):
            self.pos += len(text)
        elif self.agrees(text, self.pos):
            self.written.append(text[self.end - self.pos :])
            self.pos = self.end
        else:
            raise self.fail()

    def slot(self, slot: Slot, at: str) -> None:
        """Read or write a slot at the instance pointer `at`."""
        if self.pos == self.end:
            self.written.append(Gap(at, slot, ""))
            return
        end, is_done = read_slot(slot.language, self.text, self.pos, self.care >= Care.EXACT)
        if end < 0:
            raise self.fail()
        self.fields.append(Field(at, self.pos, end, is_done))
        if not is_done:
            self.written.append(Gap(at, slot, self.text[self.pos : end]))
        self.pos = end

    def mark(self) -> Mark:
        return (self.pos, *(len(found) for found in self._found()))

    def rewind(self, mark: Mark) -> None:
        self.pos = mark[0]
        for found, num in zip(self._found(), mark[1:], strict=True):
            del found[num:]

    def since(self, mark: Mark) -> Found:
        return self.pos, [found[num:] for found, num in zip(self._found(), mark[1:], strict=True)]

    def take(self, again: Found) -> None:
        """Add what an earlier read from the same place found."""
        self.pos = again[0]
        for found, added in zip(self._found(), again[1], strict=True):
            found += added

    def _found(self) -> tuple[list[Any], ...]:
        return (
            self.written,
            self.fields,
            self.keys,
            self.lengths,
            self.branches,
            self.decisions,
        )
