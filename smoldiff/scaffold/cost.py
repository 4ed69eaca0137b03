"""How little a piece can be written with. Tells the smallest option of a choice, and which parts no template covers."""

from __future__ import annotations

from typing import assert_never

from smoldiff.scaffold.pieces import (
    Branch,
    Items,
    Keys,
    Literal,
    Piece,
    Repeat,
    Sequence,
    Slot,
)
from smoldiff.schema.nodes import Opaque

UNKNOWN = 10**6
"""The cost of a slot of which only the last gate knows what it may hold: more than any known part."""


class Costs:
    """Costs of the pieces of one scaffold, each worked out once: its slots, and UNKNOWN for each that is not known."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Piece, int]] = {}  # by identity, so the piece must live on

    def of(self, piece: Piece) -> int:
        """The least number of slots in a text of the piece."""
        key = id(piece)
        if key not in self._known:
            self._known[key] = piece, self._work_out(piece)
        return self._known[key][1]

    def is_known(self, piece: Piece) -> bool:
        """Whether the piece has a text without slots that only the last gate knows."""
        return self.of(piece) < UNKNOWN

    def cheapest(self, branch: Branch) -> int:
        """The option that costs least, the first of them."""
        costs = [self.of(option) for option in branch.options]
        return costs.index(min(costs))

    def _work_out(self, piece: Piece) -> int:
        match piece:
            case Literal():
                return 0
            case Slot():
                is_unknown = isinstance(piece.language, Opaque) and not piece.language.is_free
                return UNKNOWN if is_unknown else 1
            case Sequence():
                return sum(map(self.of, piece.parts))
            case Keys():
                return self._object(piece)
            case Items():
                return self._array(piece)
            case Branch():
                return min(map(self.of, piece.options))
            case Repeat():
                return self.of(piece.item)
            case _:
                assert_never(piece)

    def _object(self, keys: Keys) -> int:
        required = sum(self.of(entry.value) for entry in keys.entries if entry.is_required)
        num_required = sum(entry.is_required for entry in keys.entries)
        return required + 2 * max(0, keys.min_keys - num_required)

    def _array(self, items: Items) -> int:
        fixed = sum(map(self.of, items.prefix[: items.fewest]))
        num_free = max(0, items.fewest - len(items.prefix) - len(items.contained))
        each = 0 if items.item is None else self.of(items.item)
        return fixed + num_free * each + sum(map(self.of, items.contained))
