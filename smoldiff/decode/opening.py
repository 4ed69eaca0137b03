"""The slots that remain of an answer, as they are put to a head."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from smoldiff.decode.asked import OpenSlot
from smoldiff.scaffold.budget import budget
from smoldiff.scaffold.cursor import Gap, Remainder
from smoldiff.scaffold.pieces import Language
from smoldiff.template.vocabulary import Vocabulary

FIRST_POSITIONS = 12
"""Positions of a slot at first: 95% of the values take fewer, and each costs time."""


def open_slots(
    remainder: Remainder, written: str, known: Mapping[str, str], positions: Mapping[str, int]
) -> list[OpenSlot]:
    """The gaps behind the text `written` that have an entry in `known`, each with that many positions."""
    num_bytes = len(written.encode())
    found = []
    for idx, piece in enumerate(remainder.pieces):
        if isinstance(piece, Gap) and piece.pointer in known:
            is_begun = idx == 0
            num_written = num_bytes - len(piece.written.encode()) if is_begun else None
            found.append(
                OpenSlot(
                    piece.pointer,
                    piece.slot,
                    known[piece.pointer],
                    positions[piece.pointer],
                    num_written,
                )
            )
    return found


@lru_cache(maxsize=4096)
def first_positions(language: Language, vocabulary: Vocabulary, most: int) -> int:
    """How many positions a slot gets at first: its budget, but not more than most values need."""
    full = budget(language, lambda text: len(vocabulary.encode_bytes(text.encode())))
    return min(full, FIRST_POSITIONS, most)
