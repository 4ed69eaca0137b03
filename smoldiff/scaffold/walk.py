"""One walk over a scaffold: reads the prefix piece by piece, and writes what follows from where it breaks off.

Every piece is a whole JSON value or fixed text, so where it ends in a text never depends on what comes after. That is
why a union needs no backtracking beyond its own options: the first that reads the value will do.
"""

from __future__ import annotations

import os.path
from typing import assert_never

from smoldiff.scaffold.anything import anything
from smoldiff.scaffold.keyset import completed
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
from smoldiff.scaffold.reading import Care, Found, Mark, Reading
from smoldiff.scaffold.remainder import Choices, Gap, NotAPrefix, member_key, member_value
from smoldiff.scaffold.style import JsonStyle
from smoldiff.schema.nodes import Opaque, String
from smoldiff.schema.pointers import escape

_DIGITS = "0123456789"
_NO_KEYS: frozenset[str] = frozenset()


class Walk(Reading):
    """A reading that knows the pieces."""

    def __init__(self, text: str, given: Choices, style: JsonStyle, care: Care) -> None:
        super().__init__(text, given, style, care)
        self._num_branches_open = 0
        self._refuted: set[tuple[int, int]] = (
            set()
        )  # options that did not read, by identity and position
        self._read: dict[tuple[int, int], Found] = {}  # what a branch found, likewise

    def walk(self, piece: Piece, at: str) -> None:
        """Read the piece at the instance pointer `at`, or write what is left of it. Raises NotAPrefix."""
        match piece:
            case Literal():
                self.literal(piece.text, piece)
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

    def _slot(self, slot: Slot, at: str) -> None:
        """A slot for any JSON value is written as one kind of value where that is decided."""
        if self.is_reading or not isinstance(slot.language, Opaque):
            self.slot(slot, at)
            return
        self.decisions.append((at, slot, 0))
        kind = self.given.kinds.get(at)
        if kind is None:
            self.slot(slot, at)
        else:
            kinds = anything(slot.pointer, slot.language.types)
            # Another slot, of other kinds, may have stood here when it was decided.
            self.walk(kinds[kind if kind < len(kinds) else 0], at)

    def _object(self, keys: Keys, at: str) -> None:
        first, is_begun = len(self.decisions), self.is_reading
        if not is_begun and _is_open(keys, 0):
            self.decisions.append((at, keys, 0))
        self.literal("{")
        wanted, others = self.given.keys.get(at, _NO_KEYS), self.given.others.get(at, ())
        names: list[str] = []
        is_decided, separator, idx, num_others = self.is_reading, "", 0, 0
        while (is_read := self.is_reading) and self.text[self.pos] != "}":
            found = self._written_key(keys, idx, wanted, separator)
            if found is None:
                self._other_entry(keys, idx, at, separator)
                idx, num_others = len(keys.entries), num_others + 1
            else:
                idx = found + 1
                names.append(keys.entries[found].key)
                self._entry(keys.entries[found], at, separator)
            separator = self.style.item_separator
        if is_read and _has_required(keys, idx):
            raise self.fail()
        if not is_read:
            if is_begun and _is_open(keys, idx):
                self.decisions.insert(first, (at, keys, idx))
            present = frozenset(names)
            more, others = completed(keys, wanted | present, others, num_others)
            for entry in keys.entries[idx:]:
                if entry.is_required or entry.key in more:
                    names.append(entry.key)
                    self._entry(entry, at, separator)
                    separator = self.style.item_separator
            for num in range(num_others, len(others)):
                self._unnamed_entry(keys, others[num], num, at, separator)
                separator = self.style.item_separator
        if is_decided:
            required = {entry.key for entry in keys.entries if entry.is_required}
            self.keys.append((at, frozenset(names) - required))
        self.literal("}")

    def _unnamed_entry(self, keys: Keys, kind: int, num: int, at: str, separator: str) -> None:
        """Write a member that the schema does not name, its key a slot."""
        other = keys.others[kind]
        self.literal(separator + '"')
        self.slot(other.keys, member_key(at, num))
        self.literal('"' + self.style.key_separator)
        self.walk(other.value, member_value(at, num))

    def _entry(self, entry: Entry, at: str, separator: str) -> None:
        self.literal(separator + entry.text + self.style.key_separator)
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
            if self.agrees(entry.text, start):
                fitting.append(num)
            if entry.is_required:
                break
        given = (num for num in fitting if keys.entries[num].key in wanted)
        required = (num for num in fitting if keys.entries[num].is_required)
        return next(given, next(required, next(iter(fitting), None)))

    def _other_entry(self, keys: Keys, idx: int, at: str, separator: str) -> None:
        """A key that the schema does not name, with any value: the last ones of an open object."""
        is_refused = self.care == Care.NAMED and self._num_branches_open > 0
        if is_refused or not keys.is_open or _has_required(keys, idx):
            raise self.fail()
        self.literal(separator + '"')
        end, is_done = content_span(self.text, self.pos)
        if end < 0:
            raise self.fail()
        name = decoded(self.text, self.pos, end)
        if is_done and any(entry.key == name for entry in keys.entries):
            raise self.fail()
        inside = f"{at}/{escape(name)}"
        if not is_done:
            self.written.append(
                Gap(inside, Slot(keys.pointer, String(keys.pointer)), self.text[self.pos : end])
            )
        self.pos = end
        self.literal('"' + self.style.key_separator)
        self._slot(Slot(keys.pointer, Opaque(keys.pointer)), inside)

    def _array(self, items: Items, at: str) -> None:
        self.literal("[")
        wanted = max(self.given.lengths.get(at, 0), items.fewest)
        most = items.most
        if not self.is_reading and most != items.fewest:
            self.decisions.append((at, items, 0))
        count, is_decided, first = 0, self.is_reading, len(self.decisions)
        while most is None or count < most:
            if self.text[self.pos] == "]" if self.is_reading else count >= wanted:
                break
            was_reading = self.is_reading
            if count:
                self.literal(self.style.item_separator)
            num_left = wanted - count  # the contained items are written last
            is_contained = not self.is_reading and 0 < num_left <= len(items.contained)
            piece = items.contained[-num_left] if is_contained else _item(items, count)
            self.walk(piece, f"{at}/{count}")
            count += 1
            if was_reading and not self.is_reading and most != max(count, items.fewest):
                self.decisions.insert(first, (at, items, count))
        if self.is_reading and count < items.min_items:
            raise self.fail()
        if is_decided:
            self.lengths.append((at, count))
        self.literal("]")

    def _branch(self, branch: Branch, at: str) -> None:
        wanted = self.given.branches.get(at, 0)
        first = wanted if 0 <= wanted < len(branch.options) else 0
        if not self.is_reading:
            self.decisions.append((at, branch, 0))
            self.walk(branch.options[first], at)
            return
        key = (id(branch), self.pos)
        if key in self._read:
            # Nested unions whose options differ only at their end would else take exponential time.
            self.take(self._read[key])
            return
        mark = self.mark()
        for idx in (first, *(num for num in range(len(branch.options)) if num != first)):
            if self.agrees(branch.heads[idx], self.pos) and self._reads(
                branch.options[idx], at, mark
            ):
                self.branches.append((at, idx))
                if self.is_reading:
                    self._read[key] = self.since(mark)
                return
        rest = self.text[self.pos : self.pos + max(map(len, branch.heads))]
        raise self.fail(max(len(os.path.commonprefix((rest, one))) for one in branch.heads))

    def _reads(self, option: Piece, at: str, mark: Mark) -> bool:
        key = (id(option), self.pos)
        if key in self._refuted:
            return False
        self._num_branches_open += 1
        try:
            self.walk(option, at)
            if isinstance(option, Literal) and self._is_cut_number():
                raise self.fail()
        except NotAPrefix:
            self._refuted.add(key)
            self.rewind(mark)
            return False
        finally:
            self._num_branches_open -= 1
        return True

    def _is_cut_number(self) -> bool:
        """Whether a constant was read out of a longer number: 1 out of 12. Only that could end in two places."""
        last, following = self.text[self.pos - 1], self.text[self.pos : self.pos + 1]
        return last in _DIGITS and following != "" and following in _DIGITS + ".eE"

    def _repeat(self, repeat: Repeat) -> None:
        wanted = min(self.given.lengths.get("", 1), repeat.max_count)
        if not self.is_reading and repeat.max_count > 1:
            self.decisions.append(("", repeat, 0))
        count, first = 0, len(self.decisions)
        while count < 1 or count < (repeat.max_count if self.is_reading else wanted):
            is_read = self.is_reading
            if count:
                self.walk(repeat.between, "")
                self.lengths += [("", count + 1)] * is_read
            self.walk(repeat.item, f"/{count}")
            count += 1
            if is_read and not self.is_reading and count < repeat.max_count:
                self.decisions.insert(first, ("", repeat, count))


def _is_open(keys: Keys, idx: int) -> bool:
    """Whether something from an entry on is there by choice."""
    return keys.is_open or not all(entry.is_required for entry in keys.entries[idx:])


def _has_required(keys: Keys, idx: int) -> bool:
    return any(entry.is_required for entry in keys.entries[idx:])


def _item(items: Items, idx: int) -> Piece:
    if idx < len(items.prefix):
        return items.prefix[idx]
    assert items.item is not None  # the array's limit is the prefix then
    return items.item
