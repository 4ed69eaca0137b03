"""A schema as typed nodes: references resolved, allOf merged, everything else without a template `Opaque`."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from smoldiff.errors import InvalidSchema, UnsatisfiableSchema
from smoldiff.schema import containers, scalars
from smoldiff.schema.dialect import check_dialect, check_nesting
from smoldiff.schema.inline import inlined, merged_at
from smoldiff.schema.keywords import (
    ARRAY_WORDS,
    CHOICE_WORDS,
    HONOURED,
    LEFT_TO_GRAMMAR,
    NUMBER_WORDS,
    OBJECT_WORDS,
    STRING_WORDS,
    check_words,
    show,
)
from smoldiff.schema.merge import Schema, Unmergeable
from smoldiff.schema.nodes import Boolean, Const, Node, Opaque, Union
from smoldiff.schema.place import Place


def parse_schema(schema: object, at: str = "") -> Node:
    """The node of a whole schema document that stands at the JSON pointer `at` of what the caller gave.

    Raises InvalidSchema, UnresolvableRef, UnsatisfiableSchema, or UnsupportedSchema for absurd nesting.
    """
    check_nesting(schema, at)
    place = Place.top(schema, at)
    node = parse(schema, place)
    if place.shared.has_unread:
        check_dialect(schema, at)
    return node


def parse(schema: object, place: Place) -> Node:
    """The node of one schema inside a document."""
    if schema is False:
        raise UnsatisfiableSchema(place.pointer, "false allows no value")
    if schema is True:
        return Opaque(place.pointer)
    if not isinstance(schema, dict):
        raise InvalidSchema(
            place.pointer, f"a schema must be an object or a boolean, not {show(schema)}"
        )
    if place.is_beyond_limits():
        place.shared.has_unread = True
        return Opaque(place.pointer, is_free=False)
    check_words(schema, place.pointer)
    if not LEFT_TO_GRAMMAR.isdisjoint(schema):
        place.shared.has_unread = True
        return Opaque(place.pointer, is_free=False)
    try:
        return _parse_applied(schema, place)
    except Unmergeable:
        place.shared.has_unread = True
        return Opaque(place.pointer, is_free=False)


def _parse_applied(schema: Schema, place: Place) -> Node:
    if "$ref" in schema and HONOURED.isdisjoint(schema.keys() - {"$ref"}):
        return _parse_ref(schema["$ref"], place)
    if "$ref" in schema or "allOf" in schema:
        merged, num_recursions = inlined(schema, place)
        return parse(merged, place.after(num_recursions))
    for word in schema:
        if word in CHOICE_WORDS:
            return _parse_choice(schema, word, place)
    return _parse_plain(schema, place)


def _parse_ref(ref: str, place: Place) -> Node:
    value, inside = place.follow(ref)
    if inside is None:
        return Opaque(place.pointer, is_free=False)
    return inside.remember(lambda: parse(value, inside))


def _parse_choice(schema: Schema, word: str, place: Place) -> Node:
    """anyOf, and oneOf as if it were anyOf: that no two branches hold at once is left to the grammar."""
    branches: list[Node] = []
    for idx, branch in enumerate(schema[word]):
        try:
            inside = place.down(word, idx).optional()
            branches.append(parse(merged_at(word, schema, [branch], inside.pointer), inside))
        except UnsatisfiableSchema as error:
            last_error = error
    if not branches:
        raise last_error
    return union(place.pointer, branches)


def union(pointer: str, branches: Iterable[Node]) -> Node:
    """One node for several, unions inside unions flattened, and at most one branch that takes anything."""
    flat: list[Node] = []
    for branch in branches:
        flat += branch.branches if isinstance(branch, Union) else [branch]
    open_branches = [branch for branch in flat if isinstance(branch, Opaque)]
    flat = [branch for branch in flat if not isinstance(branch, Opaque)] + open_branches[:1]
    return flat[0] if len(flat) == 1 else Union(pointer, tuple(flat))


def _parse_plain(schema: Schema, place: Place) -> Node:
    if "const" in schema or "enum" in schema:
        return scalars.parse_values(schema, place.pointer)
    named = schema.get("type")
    if named is None:
        return _parse_untyped(schema, place)
    if isinstance(named, str):
        return _PARSERS[named](schema, place)
    return union(place.pointer, [_PARSERS[name](schema, place) for name in dict.fromkeys(named)])


def _parse_untyped(schema: Schema, place: Place) -> Node:
    """Without a type, a value of another type passes too: the likely kind first, then anything."""
    likely = [
        _PARSERS[kind](schema, place)
        for kind, words in _KIND_WORDS.items()
        if not words.isdisjoint(schema)
    ]
    return union(place.pointer, [*likely, Opaque(place.pointer)])


_KIND_WORDS = {
    "object": OBJECT_WORDS,
    "array": ARRAY_WORDS,
    "string": STRING_WORDS,
    "number": NUMBER_WORDS,
}
_PARSERS: dict[str, Callable[[Schema, Place], Node]] = {
    "object": lambda schema, place: containers.parse_object(schema, place, parse),
    "array": lambda schema, place: containers.parse_array(schema, place, parse),
    "string": lambda schema, place: scalars.parse_string(schema, place.pointer),
    "integer": lambda schema, place: scalars.parse_integer(schema, place.pointer),
    "number": lambda schema, place: scalars.parse_number(schema, place.pointer),
    "boolean": lambda _, place: Boolean(place.pointer),
    "null": lambda _, place: Const(place.pointer, "null"),
}
