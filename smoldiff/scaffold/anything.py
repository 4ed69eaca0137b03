"""Any JSON value as pieces: what a slot without a template may be written as, one kind of value at a time."""

from __future__ import annotations

from functools import lru_cache

from smoldiff.scaffold.pieces import Items, Keys, Literal, OtherKeys, Piece, Sequence, Slot
from smoldiff.schema.nodes import Boolean, Integer, Number, Opaque, String


@lru_cache(maxsize=1024)
def anything(pointer: str, types: tuple[str, ...]) -> tuple[Piece, ...]:
    """One piece for each kind of value of these types, scalars first. What is inside may be anything again."""
    inside = Slot(pointer, Opaque(pointer))
    string = Slot(pointer, String(pointer))
    kinds: dict[str, Piece] = {
        "string": Sequence((Literal('"'), string, Literal('"'))),
        "integer": Slot(pointer, Integer(pointer)),
        "number": Slot(pointer, Number(pointer)),
        "boolean": Slot(pointer, Boolean(pointer)),
        "null": Literal("null"),
        "array": Items(pointer, (), inside, 0, None),
        "object": Keys(pointer, (), (OtherKeys(string, inside),)),
    }
    return tuple(piece for name, piece in kinds.items() if name in types)


def num_scalars(types: tuple[str, ...]) -> int:
    """How many of the kinds hold nothing inside."""
    return sum(name not in ("array", "object") for name in types)
