"""One walk over a scaffold: reads the prefix piece by piece, and writes what follows from where it breaks off.

Every piece is a whole JSON value or fixed text, so where it ends in a text never depends on what comes after. That is
why a union needs no backtracking beyond its own options: the first that reads the value will do.
"""

from __future__ import annotations

from typing import Any, assert_never

from smoldiff.scaffold.language import read_slot
from smoldiff.scaffold.lexer import content_span, decoded
from smoldiff.scaffold.pieces import (
    Branch,
    Entry,
    Items,
    Keys,
    Literal,
    Piece,
    Repeat,
    Sequence,
    Slot,
)
from smoldiff.scaffold.remainder import Choices, Field, Gap, NotAPrefix
from smoldiff.scaffold.style import JsonStyle
from smoldiff.schema.nodes import Opaque, String
from smoldiff.schema.pointers import escape

Mark = tuple[int, ...]  # how far a walk was: the position, then the length of each list
Read = tuple[int, list[list[Any]]]  # where a read ended, then what it added to each list


class Walk:
    """The state of one walk: how far the prefix is read, and what was found and written so far."""

    def __init__(self, text: str, given: Choices, style: JsonStyle, is_exact: bool) -> None:
        self.text, self.end, self.pos = text, len(text), 0
        self.given, self.style, self.is_exact = given, style, is_exact
        self.written: list[str | Literal | Gap] = []
        self.fields: list[Field] = []
        self.keys: list[tuple[str, frozenset[str]]] = []
        self.lengths: list[tuple[str, int]] = []
        self.branches: list[tuple[str, int]] = []
        self.furthest = 0
        self._refuted: set[tuple[int, int]] = set()  # options by identity and position
        self._read: dict[tuple[int, int], Read] = {}  # branches likewise

    def walk(self, piece: Piece, at: str) -> None:
        """Read the piece at the instance pointer `at`, or write what is left of it. Raises NotAPrefix."""
        match piece:
            case Literal():
                self._literal(piece.text, piece)
            case Slot():
                self._slot(piece, at)
            case Sequence():
                for part in piece.parts:
                    self.walk(part, at)
            case Keys():
                self._object(piece, at)
            case Items():
                self._array(piece, at)
            case Branch():
                self._branch(piece, at)
            case Repeat():
                self._repeat(piece)
            case _:
                assert_never(piece)

    def fail(self) -> NotAPrefix:
        self.furthest = max(self.furthest, self.pos)
        return NotAPrefix(self.furthest)

    def _literal(self, text: str, whole: Literal | None = None) -> None:
        if self.pos == self.end:
            self.written.append(text if whole is None or not whole.is_special else whole)
        elif self.text.startswith(text, self.pos):
            self.pos += len(text)
        elif (
            text.startswith(rest := self.text[self.pos : self.pos + len(text)])
            and self.pos + len(rest) == self.end
        ):
            self.written.append(text[len(rest) :])
            self.pos = self.end
        else:
            raise self.fail()

    def _slot(self, slot: Slot, at: str) -> None:
        if self.pos == self.end:
            self.written.append(Gap(at, slot, ""))
            return
        end, is_done = read_slot(slot.language, self.text, self.pos, self.is_exact)
        if end < 0:
            raise self.fail()
        self.fields.append(Field(at, self.pos, end, is_done))
        if not is_done:
            self.written.append(Gap(at, slot, self.text[self.pos : end]))
        self.pos = end

    def _object(self, keys: Keys, at: str) -> None:
        self._literal("{")
        wanted = self.given.keys.get(at, _NO_KEYS)
        names: list[str] = []
        is_decided, separator, idx = False, "", 0
        while not (is_read := self.pos < self.end) or self.text[self.pos] != "}":
            is_decided |= is_read
            found = (
                self._written_key(keys, idx, wanted, separator)
                if is_read
                else _wanted_key(keys, idx, wanted)
            )
            if found is None and not is_read:
                break
            if found is None:
                self._other_entry(keys, idx, at, separator)
                idx = len(keys.entries)
            else:
                entry, idx = keys.entries[found], found + 1
                if not entry.is_required:
                    names.append(entry.key)
                self._entry(entry, at, separator)
            separator = self.style.item_separator
        if self.pos < self.end and _has_required(keys, idx):
            raise self.fail()
        if is_decided or self.pos < self.end:
            self.keys.append((at, frozenset(names)))
        self._literal("}")

    def _entry(self, entry: Entry, at: str, separator: str) -> None:
        self._literal(separator + entry.text + self.style.key_separator)
        self.walk(entry.value, f"{at}/{escape(entry.key)}")

    def _written_key(
        self, keys: Keys, idx: int, wanted: frozenset[str], separator: str
    ) -> int | None:
        """The entry whose key the prefix goes on with; if it breaks off too early to tell, the likeliest that fits."""
        start = self.pos + len(separator)
        fitting: list[int] = []
        for num, entry in enumerate(keys.entries[idx:], idx):
            if self.text.startswith(entry.text, start):
                return num
            if self.end - start < len(entry.text) and entry.text.startswith(self.text[start:]):
                fitting.append(num)
            if entry.is_required:
                break
        given = (num for num in fitting if keys.entries[num].key in wanted)
        required = (num for num in fitting if keys.entries[num].is_required)
        return next(given, next(required, next(iter(fitting), None)))

    def _other_entry(self, keys: Keys, idx: int, at: str, separator: str) -> None:
        """A key that the schema does not name, with any value: the last ones of an open object."""
        if not keys.is_open or _has_required(keys, idx):
            raise self.fail()
        self._literal(separator + '"')
        end, is_done = content_span(self.text, self.pos)
        name = decoded(self.text, self.pos, end)
        inside = f"{at}/{escape(name)}"
        if end < 0 or (is_done and any(entry.key == name for entry in keys.entries)):
            raise self.fail()
        if not is_done:
            self.written.append(
                Gap(inside, Slot(keys.pointer, String(keys.pointer)), self.text[self.pos : end])
            )
        self.pos = end
        self._literal('"' + self.style.key_separator)
        self._slot(Slot(keys.pointer, Opaque(keys.pointer)), inside)

    def _array(self, items: Items, at: str) -> None:
        self._literal("[")
        wanted = max(self.given.lengths.get(at, 0), items.min_items)
        most = len(items.prefix) if items.item is None else items.max_items
        count, is_decided = 0, False
        while most is None or count < most:
            is_read = self.pos < self.end
            if self.text[self.pos] == "]" if is_read else count >= wanted:
                break
            is_decided |= is_read
            if count:
                self._literal(self.style.item_separator)
            self.walk(_item(items, count), f"{at}/{count}")
            count += 1
        if is_decided or self.pos < self.end:
            self.lengths.append((at, count))
            if self.pos < self.end and count < items.min_items:
                raise self.fail()
        self._literal("]")

    def _branch(self, branch: Branch, at: str) -> None:
        wanted = self.given.branches.get(at, 0)
        first = wanted if 0 <= wanted < len(branch.options) else 0
        if self.pos == self.end:
            self.walk(branch.options[first], at)
            return
        key = (id(branch), self.pos)
        if key in self._read:
            self._repeat_read(self._read[key])
            return
        mark = self._mark()
        for idx in (first, *(num for num in range(len(branch.options)) if num != first)):
            if self._reads(branch.options[idx], at, mark):
                self.branches.append((at, idx))
                if self.pos < self.end:
                    self._read[key] = self._since(mark)
                return
        raise self.fail()

    def _reads(self, option: Piece, at: str, mark: Mark) -> bool:
        key = (id(option), self.pos)
        if key in self._refuted:
            return False
        try:
            self.walk(option, at)
            if isinstance(option, Literal) and self._is_cut_number():
                raise self.fail()
        except NotAPrefix:
            self._refuted.add(key)
            self._rewind(mark)
            return False
        return True

    def _is_cut_number(self) -> bool:
        """Whether a constant was read out of a longer number: 1 out of 12. Only that could end in two places."""
        around = self.text[self.pos - 1 : self.pos + 1]
        return (
            len(around) == 2
            and around[0] in _DIGITS
            and (around[1] in _DIGITS or around[1] in ".eE")
        )

    def _repeat(self, repeat: Repeat) -> None:
        wanted = min(self.given.lengths.get("", 1), repeat.max_count)
        count = 0
        while count < 1 or (count < repeat.max_count if self.pos < self.end else count < wanted):
            is_read = self.pos < self.end
            if count:
                self.walk(repeat.between, "")
                self.lengths += [("", count + 1)] * is_read
            self.walk(repeat.item, f"/{count}")
            count += 1

    def _mark(self) -> Mark:
        return (self.pos, *(len(found) for found in self._found()))

    def _rewind(self, mark: Mark) -> None:
        self.pos = mark[0]
        for found, num in zip(self._found(), mark[1:], strict=True):
            del found[num:]

    def _since(self, mark: Mark) -> Read:
        return self.pos, [found[num:] for found, num in zip(self._found(), mark[1:], strict=True)]

    def _repeat_read(self, read: Read) -> None:
        """Take over what an earlier option found at the same place: nested unions else cost exponential time."""
        self.pos = read[0]
        for found, again in zip(self._found(), read[1], strict=True):
            found += again

    def _found(self) -> tuple[list[Any], ...]:
        return self.written, self.fields, self.keys, self.lengths, self.branches


_DIGITS = "0123456789"
_NO_KEYS: frozenset[str] = frozenset()


def _wanted_key(keys: Keys, idx: int, wanted: frozenset[str]) -> int | None:
    """The next entry to write of one's own accord."""
    for num in range(idx, len(keys.entries)):
        entry = keys.entries[num]
        if entry.is_required or entry.key in wanted:
            return num
    return None


def _has_required(keys: Keys, idx: int) -> bool:
    return any(entry.is_required for entry in keys.entries[idx:])


def _item(items: Items, idx: int) -> Piece:
    if idx < len(items.prefix):
        return items.prefix[idx]
    assert items.item is not None  # the array's limit is the prefix then
    return items.item
