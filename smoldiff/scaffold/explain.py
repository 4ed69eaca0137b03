"""A scaffold printed in colour: what is certain, every slot with its language and budget, every decision."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, assert_never

from smoldiff.scaffold.budget import CountTokens, budget
from smoldiff.scaffold.describe import describe, describe_count, describe_key_count
from smoldiff.scaffold.pieces import (
    Branch,
    Entry,
    Items,
    Keys,
    Literal,
    OtherKeys,
    Piece,
    Repeat,
    Sequence,
    Slot,
    parts_of,
)
from smoldiff.scaffold.remainder import Gap
from smoldiff.scaffold.scaffold import Scaffold

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

MAX_LINES = (
    500  # parts that a schema shares are printed where they stand, and that can be very often
)

CERTAIN, SPECIAL, SLOT, DECISION, QUIET = "green", "bold green", "bold cyan", "bold yellow", "dim"
OPEN, CLOSE, TIMES = (
    "\u2039",
    "\u203a",
    "\u00d7",
)  # escaped: the linter takes them for typing errors
_INDENT = "  "


def explain(scaffold: Scaffold, count_tokens: CountTokens | None = None) -> RenderableType:
    """The scaffold as coloured text for a rich console, with a summary. Without a tokenizer, lengths are characters."""
    printer = Printer(count_tokens or len)
    printer.show(scaffold.root, 0)
    printer.say("\n\n")
    _summarise(scaffold, printer, "characters" if count_tokens is None else "tokens")
    return printer.text


class Printer:
    """Builds the text, piece by piece; `num_lines` is what has been printed so far."""

    def __init__(self, count_tokens: CountTokens) -> None:
        from rich.text import Text

        self.text: Text = Text()
        self.count_tokens = count_tokens
        self.num_lines = 0

    def say(self, words: str, style: str = "") -> None:
        self.text.append(words, style)

    def show(self, piece: Piece, depth: int) -> None:
        match piece:
            case Literal():
                self.say(piece.text, SPECIAL if piece.is_special else CERTAIN)
            case Slot():
                self.say(self._slot(piece), SLOT)
            case Sequence():
                for part in piece.parts:
                    self.show(part, depth)
            case Keys():
                self._show_object(piece, depth)
            case Items():
                self._show_array(piece, depth)
            case Branch():
                self._show_branch(piece, depth)
            case Repeat():
                self._show_repeat(piece, depth)
            case _:
                assert_never(piece)

    def _slot(self, slot: Slot) -> str:
        num_positions = budget(slot.language, self.count_tokens)
        return f"{OPEN}{describe(slot.language)} ≤{num_positions}{CLOSE}"

    def _show_object(self, keys: Keys, depth: int) -> None:
        self.say("{", CERTAIN)
        count = describe_key_count(keys)
        self.say(f"{TIMES} {count}" if count else "", DECISION)
        for entry in keys.entries:
            if not self._line(depth + 1):
                break
            self._show_entry(entry, depth + 1)
        for kind in keys.others:
            if not self._line(depth + 1):
                break
            self._show_other(kind, depth + 1)
        if keys.entries or keys.is_open:
            self._line(depth)
        self.say("}", CERTAIN)

    def _show_other(self, kind: OtherKeys, depth: int) -> None:
        self.say("? other ", DECISION)
        self.say(self._slot(kind.keys), SLOT)
        self.say(": ", CERTAIN)
        self.show(kind.value, depth)

    def _show_entry(self, entry: Entry, depth: int) -> None:
        if not entry.is_required:
            self.say("? ", DECISION)
        self.say(entry.text + ": ", CERTAIN)
        self.show(entry.value, depth)

    def _show_array(self, items: Items, depth: int) -> None:
        self.say("[", CERTAIN)
        self.say(f"{TIMES} {describe_count(items)} ", DECISION)
        for idx, part in enumerate([*items.prefix, *([items.item] if items.item else [])]):
            self.say(", " if idx else "", CERTAIN)
            self.show(part, depth)
        for part in items.contained:
            self.say(" and one ", DECISION)
            self.show(part, depth)
        self.say("]", CERTAIN)

    def _show_branch(self, branch: Branch, depth: int) -> None:
        self.say(f"one of {len(branch.options)}", DECISION)
        for option, label in zip(branch.options, branch.labels, strict=True):
            if not self._line(depth + 1):
                break
            self.say(f"| {label}: ", DECISION)
            self.show(option, depth + 1)

    def _show_repeat(self, repeat: Repeat, depth: int) -> None:
        if repeat.max_count > 1:
            self.say(f"{TIMES} 1..{repeat.max_count} ", DECISION)
        self.show(repeat.item, depth)

    def _line(self, depth: int) -> bool:
        """Begin a line; False, with a mark in place of what is left out, where the print has grown too long."""
        self.num_lines += 1
        if self.num_lines <= MAX_LINES:
            self.say("\n" + _INDENT * depth)
        elif not self.text.plain.endswith("…"):
            self.say(" …", QUIET)
        return self.num_lines <= MAX_LINES


def _summarise(scaffold: Scaffold, printer: Printer, unit: str) -> None:
    pieces = list(_distinct(scaffold.root))
    num_slots = sum(isinstance(piece, Slot) for piece in pieces)
    num_literals = sum(_num_literals(piece) for piece in pieces)
    num_decisions = sum(_num_decisions(piece) for piece in pieces)
    smallest = scaffold.resume().pieces
    num_certain = sum(
        printer.count_tokens(part.text) for part in smallest if isinstance(part, Literal)
    )
    num_free = sum(
        budget(part.slot.language, printer.count_tokens)
        for part in smallest
        if isinstance(part, Gap)
    )
    printer.say(f"{num_literals} literals", CERTAIN)
    printer.say(f", {num_slots} slots", SLOT)
    printer.say(f", {num_decisions} decisions", DECISION)
    printer.say(f". The smallest answer: {num_certain} {unit} certain, {num_free} positions free.")


def _distinct(root: Piece) -> Iterable[Piece]:
    """Every piece once, however often it is shared."""
    seen: set[int] = set()
    todo = [root]
    while todo:
        piece = todo.pop()
        if id(piece) not in seen:
            seen.add(id(piece))
            yield piece
            todo += parts_of(piece)


def _num_literals(piece: Piece) -> int:
    return len(piece.entries) if isinstance(piece, Keys) else isinstance(piece, Literal)


def _num_decisions(piece: Piece) -> int:
    match piece:
        case Keys():
            return sum(not entry.is_required for entry in piece.entries)
        case Items():
            return piece.item is not None or len(piece.prefix) != piece.min_items
        case Repeat():
            return piece.max_count > 1
        case _:
            return isinstance(piece, Branch)
