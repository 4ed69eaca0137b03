"""One walk over a scaffold: reads the prefix piece by piece, and writes what follows from where it breaks off.

Every piece is a whole JSON value or fixed text, so where it ends in a text never depends on what comes after. That is
why a union needs no backtracking beyond its own options: the first that reads the value will do.
"""

from __future__ import annotations

from typing import NamedTuple, assert_never

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


class Mark(NamedTuple):
    """How far a walk was, to come back to after a wrong option."""

    pos: int
    num_written: int
    num_fields: int
    num_keys: int
    num_lengths: int
    num_branches: int


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
        self._refuted: set[tuple[int, int]] = set()

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
        for idx in (first, *(num for num in range(len(branch.options)) if num != first)):
            if self._reads(branch.options[idx], at):
                self.branches.append((at, idx))
                return
        raise self.fail()

    def _reads(self, option: Piece, at: str) -> bool:
        key = (id(option), self.pos)
        if key in self._refuted:
            return False
        mark = self._mark()
        try:
            self.walk(option, at)
        except NotAPrefix:
            self._refuted.add(key)
            self._rewind(mark)
            return False
        return True

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
        return Mark(
            self.pos,
            len(self.written),
            len(self.fields),
            len(self.keys),
            len(self.lengths),
            len(self.branches),
        )

    def _rewind(self, mark: Mark) -> None:
        self.pos = mark.pos
        del self.written[mark.num_written :]
        del self.fields[mark.num_fields :]
        del self.keys[mark.num_keys :]
        del self.lengths[mark.num_lengths :]
        del self.branches[mark.num_branches :]


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
