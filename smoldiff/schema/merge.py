"""Two schemas that hold at once, as one schema. Only the merges that need no thought; the rest gets no template."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from smoldiff.schema.keywords import HONOURED, LEFT_TO_GRAMMAR

Schema = dict[str, Any]


class Unmergeable(Exception):
    """These two schemas do not merge simply."""


def merge(first: Schema | bool, second: Schema | bool) -> Schema | bool:
    """A schema for the values of both, properties in the order of `first`. Raises Unmergeable.

    Neither may hold a $ref or allOf that the other has too; their honoured words must have values of the right kind.
    """
    if isinstance(first, bool):
        return second if first else False
    if isinstance(second, bool):
        return first if second else False
    _check_closed(first, second)
    merged = dict(first)
    for word, value in second.items():
        if word in merged and word in HONOURED | LEFT_TO_GRAMMAR:
            merged[word] = _both(word, merged[word], value)
        else:
            merged.setdefault(word, value)
    return False if merged.get("type") == [] else merged


def _check_closed(first: Schema, second: Schema) -> None:
    """additionalProperties speaks of the properties beside it, so it does not survive a merge with others."""
    for one, other in ((first, second), (second, first)):
        has_foreign = set(other.get("properties", ())) - set(one.get("properties", ()))
        if has_foreign and one.get("additionalProperties", True) is not True:
            raise Unmergeable


def _both(word: str, first: Any, second: Any) -> Any:
    if first == second and type(first) is type(second):
        return first
    if word not in _MERGES:
        raise Unmergeable
    return _MERGES[word](first, second)


def _types(first: Any, second: Any) -> list[str]:
    first, second = (value if isinstance(value, list) else [value] for value in (first, second))
    both = [name for name in first if name in second or (name == "integer" and "number" in second)]
    return both + [
        name for name in second if name == "integer" and "number" in first and name not in both
    ]


def _properties(first: Schema, second: Schema) -> Schema:
    merged = dict(first)
    for name, value in second.items():
        merged[name] = (
            {"allOf": [merged[name], value]} if name in merged and merged[name] != value else value
        )
    return merged


def _joined(first: list[Any], second: list[Any]) -> list[Any]:
    return first + [value for value in second if value not in first]


def _common(first: list[Any], second: list[Any]) -> list[Any]:
    return [
        value
        for value in first
        if any(value == other and type(value) is type(other) for other in second)
    ]


def _closed(first: Any, second: Any) -> Any:
    if first is False or second is False:
        return False
    if first is True or second is True:
        return second if first is True else first
    raise Unmergeable


def _largest(first: Any, second: Any) -> Any:
    return _number_only(max, first, second)


def _smallest(first: Any, second: Any) -> Any:
    return _number_only(min, first, second)


def _number_only(pick: Callable[[Any, Any], Any], first: Any, second: Any) -> Any:
    if isinstance(first, bool) or isinstance(second, bool):
        raise Unmergeable
    return pick(first, second)


_MERGES: dict[str, Callable[[Any, Any], Any]] = {
    "type": _types,
    "enum": _common,
    "properties": _properties,
    "required": _joined,
    "additionalProperties": _closed,
    "uniqueItems": lambda first, second: first or second,
    **dict.fromkeys(
        ("minLength", "minItems", "minProperties", "minimum", "exclusiveMinimum"), _largest
    ),
    **dict.fromkeys(
        ("maxLength", "maxItems", "maxProperties", "maximum", "exclusiveMaximum"), _smallest
    ),
}
