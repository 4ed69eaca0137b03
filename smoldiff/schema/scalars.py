"""Strings, numbers and fixed values as nodes."""

from __future__ import annotations

import json
import math
from typing import Any

from smoldiff.errors import InvalidSchema, UnsatisfiableSchema
from smoldiff.schema.keywords import show
from smoldiff.schema.nodes import Const, Enum, Integer, Node, Number, String

Schema = dict[str, Any]


def parse_string(schema: Schema, pointer: str) -> String:
    shortest = int(schema.get("minLength", 0))
    longest = _count(schema.get("maxLength"))
    if longest is not None and shortest > longest:
        raise UnsatisfiableSchema(pointer, f"minLength {shortest} is above maxLength {longest}")
    patterns, formats = (
        (schema[word],) if word in schema else () for word in ("pattern", "format")
    )
    return String(pointer, shortest, longest, patterns, formats)


def parse_number(schema: Schema, pointer: str) -> Number:
    low, above = _bounds(schema, "minimum", "exclusiveMinimum")
    high, below = _bounds(schema, "maximum", "exclusiveMaximum")
    node = Number(pointer, low, high, above, below, schema.get("multipleOf"))
    lowest = max((v for v in (low, above) if v is not None), default=-math.inf)
    highest = min((v for v in (high, below) if v is not None), default=math.inf)
    is_open = lowest == above or highest == below
    if lowest > highest or (lowest == highest and is_open):
        raise UnsatisfiableSchema(
            pointer, f"no number is from {lowest} to {highest} within these bounds"
        )
    return node


def parse_integer(schema: Schema, pointer: str) -> Integer:
    low, above = _bounds(schema, "minimum", "exclusiveMinimum")
    high, below = _bounds(schema, "maximum", "exclusiveMaximum")
    lows = [math.ceil(v) for v in (low,) if v is not None] + [
        math.floor(v) + 1 for v in (above,) if v is not None
    ]
    highs = [math.floor(v) for v in (high,) if v is not None] + [
        math.ceil(v) - 1 for v in (below,) if v is not None
    ]
    node = Integer(
        pointer, max(lows, default=None), min(highs, default=None), schema.get("multipleOf")
    )
    if node.minimum is not None and node.maximum is not None and node.minimum > node.maximum:
        raise UnsatisfiableSchema(pointer, f"no integer is from {node.minimum} to {node.maximum}")
    return node


def parse_values(schema: Schema, pointer: str) -> Node:
    """`const` and `enum`, less the values that the `type` beside them forbids."""
    values = schema["enum"] if "enum" in schema else [schema["const"]]
    if "const" in schema:
        values = [value for value in values if _same(value, schema["const"])]
    named = schema.get("type")
    if named is not None:
        types = named if isinstance(named, list) else [named]
        values = [value for value in values if any(is_type(value, name) for name in types)]
    texts = tuple(dict.fromkeys(_text(value, pointer) for value in values))
    if not texts:
        raise UnsatisfiableSchema(pointer, "no value of enum or const is left")
    return Const(pointer, texts[0]) if len(texts) == 1 else Enum(pointer, texts)


def is_type(value: object, name: str) -> bool:
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


def _same(first: object, second: object) -> bool:
    return first == second and isinstance(first, bool) is isinstance(second, bool)


def _text(value: object, pointer: str) -> str:
    # The grammar engine writes 1 for 1.0, so a whole float is written so here too.
    whole = int(value) if isinstance(value, float) and value.is_integer() else value
    try:
        return json.dumps(whole, ensure_ascii=False, separators=(", ", ": "), allow_nan=False)
    except (TypeError, ValueError):
        raise InvalidSchema(pointer, f"{show(value)} is not a JSON value") from None


def _bounds(schema: Schema, word: str, exclusive_word: str) -> tuple[Any, Any]:
    """The inclusive and the exclusive bound; in draft 4 the exclusive word is a boolean about the other."""
    bound, exclusive = schema.get(word), schema.get(exclusive_word)
    if isinstance(exclusive, bool):
        return (None, bound) if exclusive else (bound, None)
    return bound, exclusive


def _count(value: Any) -> int | None:
    return None if value is None else int(value)
