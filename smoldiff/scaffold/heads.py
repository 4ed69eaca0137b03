"""The text that every writing of a piece begins with. It tells most options of a branch apart at one glance."""

from __future__ import annotations

import os.path
from typing import assert_never

from smoldiff.scaffold.pieces import Branch, Items, Keys, Literal, Piece, Repeat, Sequence, Slot
from smoldiff.scaffold.style import JsonStyle


def branch(
    pointer: str, options: tuple[Piece, ...], labels: tuple[str, ...], style: JsonStyle
) -> Branch:
    """A branch with the heads of its options."""
    return Branch(pointer, options, labels, tuple(head(option, style) for option in options))


def head(piece: Piece, style: JsonStyle) -> str:
    """The certain text at the start of a piece, perhaps not all of it."""
    match piece:
        case Literal():
            return piece.text
        case Slot():
            return ""
        case Sequence():
            return head(piece.parts[0], style) if piece.parts else ""
        case Keys():
            return _object_head(piece, style)
        case Items():
            return "["
        case Branch():
            return os.path.commonprefix(piece.heads)
        case Repeat():
            return head(piece.item, style)
        case _:
            assert_never(piece)


def _object_head(keys: Keys, style: JsonStyle) -> str:
    if not keys.entries or not keys.entries[0].is_required:
        return "{"
    first = keys.entries[0]
    return "{" + first.text + style.key_separator + head(first.value, style)
