"""Reads the parts of a published row that is not ours: each reader says where the row is at fault."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from typing import Any

from smoldiff.schema.validation import decoder
from smoldiff_training.data.rows import Json

MAX_SHOWN = 60  # characters of a value in a message
DECODER = decoder(is_exact=False)


class UnusableRow(Exception):
    """A published row that cannot be read; the message says where in it and why."""


def shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."


def text_of(raw: Mapping[str, Any], key: str) -> str:
    value = raw.get(key)
    if not isinstance(value, str):
        raise UnusableRow(f"{key}: expected a text, found {shown(value)}")
    return value


def parsed(value: object, at: str) -> Any:
    """`value` itself, or what its text says: JSON, or the Python literal that some rows write instead."""
    if not isinstance(value, str):
        return value
    try:
        return DECODER.decode(value)
    except (ValueError, RecursionError):
        return python_literal(value, at)


def python_literal(text: str, at: str) -> Any:
    try:
        value = ast.literal_eval(text.strip())
        return DECODER.decode(json.dumps(value))  # a tuple becomes a list, a set is no JSON
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as problem:
        raise UnusableRow(f"{at}: neither JSON nor a Python literal: {shown(text)}") from problem


def list_of(raw: Mapping[str, Any], key: str) -> list[Any]:
    value = parsed(raw.get(key), key)
    if not isinstance(value, list):
        raise UnusableRow(f"{key}: expected a list, found {shown(value)}")
    return value


def mapping_of(value: object, at: str) -> Mapping[str, Any]:
    value = parsed(value, at)
    if not isinstance(value, Mapping):
        raise UnusableRow(f"{at}: expected an object, found {shown(value)}")
    return value


def call_of(value: object, at: str) -> Json:
    """A call as {name, arguments}. Its arguments may be written as text; none at all are no arguments."""
    raw = mapping_of(value, at)
    if isinstance(raw.get("function"), Mapping):
        raw = raw["function"]
    name = text_of(raw, "name")
    given = raw.get("arguments")
    arguments = mapping_of({} if given in (None, "") else given, f"{at}.arguments")
    return {"name": name, "arguments": dict(arguments)}


def calls_of(value: object, at: str) -> list[Json]:
    """One call or a list of calls, as [{name, arguments}]."""
    value = parsed(value, at)
    items = value if isinstance(value, list) else [value]
    return [call_of(item, f"{at}[{i}]") for i, item in enumerate(items)]
