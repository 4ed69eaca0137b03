"""Fixed values, of enum and const."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from smoldiff.errors import InvalidSchema, UnsatisfiableSchema
from smoldiff.schema.keywords import show
from smoldiff.schema.nodes import Const, Enum, Node


@dataclass(frozen=True, slots=True)
class Values:
    """The values that are left, in schema order."""

    values: list[object]

    def common(self, other: Values) -> Values:
        allowed = {identity(value) for value in other.values}
        return Values([value for value in self.values if identity(value) in allowed])

    def node(self, pointer: str, is_allowed: Callable[[object], bool]) -> Node:
        """One node for those that are allowed. Raises UnsatisfiableSchema."""
        left = [value for value in self.values if is_allowed(value)]
        texts = tuple(dict.fromkeys(text_of(value, pointer) for value in left))
        if not texts:
            raise UnsatisfiableSchema(pointer, "no value of enum or const is left")
        return Const(pointer, texts[0]) if len(texts) == 1 else Enum(pointer, texts)


def identity(value: object) -> object:
    """Equal for values that JSON Schema takes for equal: 1 and 1.0, but not 1 and true."""
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bool):
        return "literal", value
    if isinstance(value, list):
        return "array", *map(identity, value)
    if isinstance(value, dict):
        return "object", frozenset((key, identity(part)) for key, part in value.items())
    return value


def is_of_type(value: object, name: str) -> bool:
    """Whether a JSON value has this JSON Schema type; 1.0 is an integer there."""
    match value:
        case bool():
            return name == "boolean"
        case None:
            return name == "null"
        case str():
            return name == "string"
        case int():
            return name in ("integer", "number")
        case float():
            return name == "number" or (name == "integer" and value.is_integer())
        case dict():
            return name == "object"
        case _:
            return name == "array" and isinstance(value, list)


def text_of(value: object, pointer: str) -> str:
    """The value as JSON text. Raises InvalidSchema."""
    # The grammar engine writes 1 for 1.0, so a whole float is written so here too.
    whole = int(value) if isinstance(value, float) and value.is_integer() else value
    try:
        return json.dumps(whole, ensure_ascii=False, separators=(", ", ": "), allow_nan=False)
    except (TypeError, ValueError):
        raise InvalidSchema(pointer, f"{show(value)} is not a JSON value") from None
