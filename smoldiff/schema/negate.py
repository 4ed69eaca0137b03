"""Negations pushed inwards: the ways in which a schema fails, each as schemas that hold and exclusions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from smoldiff.schema.keywords import ARRAY_WORDS, HONOURED, OBJECT_WORDS, check_words
from smoldiff.schema.part import Exclusion, Option, Part, Schema, followed

Ways = Iterator[Option]

_COMMON: tuple[object, ...] = (None, True, 0, "", [], {})
"""Values of which two are tried where items must not be unique: no schema says that any two are equal."""


def ways_to_fail(part: Part, schema: Schema) -> list[Option]:
    """Options of which one holds exactly if the negated `part` does; those that say less than they should stand last."""
    check_words(schema, part.place.pointer)
    ignores_siblings = "$ref" in schema and part.place.shared.document.ignores_siblings
    found = [
        option
        for idx, word in enumerate(schema)
        if word in HONOURED and (word == "$ref" or not ignores_siblings)
        for option in _WAYS.get(word, _unread)(part, schema, idx)
    ]
    return sorted(found, key=is_vague)


def is_vague(option: Option) -> bool:
    """Whether an option says less than it should."""
    return any(isinstance(one.schema, Exclusion) and one.schema.is_unsaid for one in option)


def _excluding(part: Part, **what: Any) -> Part:
    return Part(Exclusion(**what), part.place, part.path, is_silent=True)


def _left_out(part: Part, kind: str) -> Option:
    """A value of this type, of which nothing more is said."""
    return part.made(kind, {"type": kind}), _excluding(part, is_unsaid=True)


def _unread(part: Part, schema: Schema, idx: int) -> Ways:
    """Words that only mean something beside another one."""
    yield from ()


def _type(part: Part, schema: Schema, idx: int) -> Ways:
    named = schema["type"]
    yield (_excluding(part, types=tuple(named) if isinstance(named, list) else (named,)),)


def _values(part: Part, schema: Schema, idx: int) -> Ways:
    values = [schema["const"]] if list(schema)[idx] == "const" else schema["enum"]
    yield (_excluding(part, values=tuple(values)),)


def _ref(part: Part, schema: Schema, idx: int) -> Ways:
    target = followed(part, list(schema)[idx], (idx,))
    yield (target,) if isinstance(target, Part) else (_excluding(part, is_unsaid=True),)


def _all_of(part: Part, schema: Schema, idx: int) -> Ways:
    for at, one in enumerate(schema["allOf"]):
        yield (part.applied(one, (idx, at), "allOf", at),)


def _any_of(part: Part, schema: Schema, idx: int) -> Ways:
    yield tuple(part.applied(one, (idx, at), "anyOf", at) for at, one in enumerate(schema["anyOf"]))


def _one_of(part: Part, schema: Schema, idx: int) -> Ways:
    """None of the branches, or two of them."""
    failing = [part.applied(one, (idx, at), "oneOf", at) for at, one in enumerate(schema["oneOf"])]
    yield tuple(failing)
    for at, first in enumerate(failing):
        for second in failing[at + 1 :]:
            yield first.negated(), second.negated()


def _not(part: Part, schema: Schema, idx: int) -> Ways:
    yield (part.applied(schema["not"], (idx,), "not").negated(),)


def _if(part: Part, schema: Schema, idx: int) -> Ways:
    condition = part.applied(schema["if"], (idx, 0), "if")
    if "then" in schema:
        yield condition.negated(), part.applied(schema["then"], (idx, 1), "then")
    if "else" in schema:
        yield condition, part.applied(schema["else"], (idx, 2), "else")


def _required(part: Part, schema: Schema, idx: int) -> Ways:
    for name in dict.fromkeys(schema["required"]):
        yield (part.made(("without", name), {"type": "object", "properties": {name: False}}),)


def _properties(part: Part, schema: Schema, idx: int) -> Ways:
    for name, value in schema["properties"].items():
        if value is not True:
            member = {"type": "object", "required": [name], "properties": {name: {"not": value}}}
            yield (part.made(("property", name), member),)


def _dependent(part: Part, schema: Schema, idx: int) -> Ways:
    word = list(schema)[idx]
    for key, value in schema[word].items():
        for name in [value] if isinstance(value, str) else value if isinstance(value, list) else []:
            lacking = {"type": "object", "required": [key], "properties": {name: False}}
            yield (part.made(("lacking", key, name), lacking),)
        if isinstance(value, dict | bool):
            present = part.made(("present", key), {"type": "object", "required": [key]})
            yield present, part.applied(value, (idx,), word, key)


def _items(part: Part, schema: Schema, idx: int) -> Ways:
    items = schema["items"]
    if isinstance(items, list):
        yield from _prefix(part, "items", items)
    elif "prefixItems" in schema:
        yield _left_out(part, "array")
    elif items is not True:
        yield (part.made("items", {"type": "array", "contains": {"not": items}}),)


def _prefix_items(part: Part, schema: Schema, idx: int) -> Ways:
    yield from _prefix(part, "prefixItems", schema["prefixItems"])


def _prefix(part: Part, word: str, values: list[object]) -> Ways:
    for at, value in enumerate(values):
        if value is not True:
            prefix = [*([True] * at), {"not": value}]
            failing = {"type": "array", "prefixItems": prefix, "minItems": at + 1}
            yield (part.made((word, at), failing),)


def _contains(part: Part, schema: Schema, idx: int) -> Ways:
    fewest = schema.get("minContains", 1)
    if fewest == 1:
        none = {"type": "array", "items": {"not": schema["contains"]}}
        yield (part.made("contains", none),)
    if fewest > 1 or "maxContains" in schema:
        yield _left_out(part, "array")


def _unique(part: Part, schema: Schema, idx: int) -> Ways:
    if not schema["uniqueItems"]:
        return
    for value in _COMMON:
        twice = {"type": "array", "prefixItems": [{"const": value}] * 2, "minItems": 2}
        yield (part.made(("doubles", repr(value)), twice),)
    yield part.made("doubles", {"minItems": 2}), *_left_out(part, "array")


def _at_least(kind: str, opposite: str) -> Callable[[Part, Schema, int], Ways]:
    def ways(part: Part, schema: Schema, idx: int) -> Ways:
        count = int(schema[list(schema)[idx]])
        if count > 0:
            yield (part.made(opposite, {"type": kind, opposite: count - 1}),)

    return ways


def _at_most(kind: str, opposite: str) -> Callable[[Part, Schema, int], Ways]:
    def ways(part: Part, schema: Schema, idx: int) -> Ways:
        count = int(schema[list(schema)[idx]])
        yield (part.made(opposite, {"type": kind, opposite: count + 1}),)

    return ways


def _bound(word: str, opposite: str, exclusive: str) -> Callable[[Part, Schema, int], Ways]:
    """`opposite` excludes the bound, unless draft 4's boolean beside it already does."""

    def ways(part: Part, schema: Schema, idx: int) -> Ways:
        bound, kind = schema[word], {"type": "number"}
        if isinstance(bound, bool):
            return
        name = _INCLUSIVE[opposite] if schema.get(exclusive) is True else opposite
        yield (part.made(word, {**kind, name: bound}),)

    return ways


_INCLUSIVE = {"exclusiveMinimum": "minimum", "exclusiveMaximum": "maximum"}


def _pattern(part: Part, schema: Schema, idx: int) -> Ways:
    excluded = _excluding(part, patterns=(schema["pattern"],))
    yield part.made("string", {"type": "string"}), excluded


def _vague(kind: str) -> Callable[[Part, Schema, int], Ways]:
    def ways(part: Part, schema: Schema, idx: int) -> Ways:
        if schema[list(schema)[idx]] is not True:
            yield _left_out(part, kind)

    return ways


_WAYS: dict[str, Callable[[Part, Schema, int], Ways]] = {
    **dict.fromkeys(sorted(OBJECT_WORDS), _vague("object")),
    **dict.fromkeys(sorted(ARRAY_WORDS), _vague("array")),
    "type": _type,
    "enum": _values,
    "const": _values,
    "$ref": _ref,
    "$dynamicRef": _ref,
    "$recursiveRef": _ref,
    "allOf": _all_of,
    "anyOf": _any_of,
    "oneOf": _one_of,
    "not": _not,
    "if": _if,
    "required": _required,
    "properties": _properties,
    "dependentRequired": _dependent,
    "dependentSchemas": _dependent,
    "dependencies": _dependent,
    "minProperties": _at_least("object", "maxProperties"),
    "maxProperties": _at_most("object", "minProperties"),
    "items": _items,
    "prefixItems": _prefix_items,
    "contains": _contains,
    "minContains": _unread,
    "maxContains": _unread,
    "uniqueItems": _unique,
    "minItems": _at_least("array", "maxItems"),
    "maxItems": _at_most("array", "minItems"),
    "minLength": _at_least("string", "maxLength"),
    "maxLength": _at_most("string", "minLength"),
    "pattern": _pattern,
    "format": _vague("string"),
    "minimum": _bound("minimum", "exclusiveMaximum", "exclusiveMinimum"),
    "maximum": _bound("maximum", "exclusiveMinimum", "exclusiveMaximum"),
    "exclusiveMinimum": _bound("exclusiveMinimum", "maximum", ""),
    "exclusiveMaximum": _bound("exclusiveMaximum", "minimum", ""),
    "multipleOf": _vague("number"),
}
