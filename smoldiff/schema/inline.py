"""Writing out $ref and allOf in place: one plain schema for all that holds at once."""

from __future__ import annotations

from collections.abc import Iterable

from smoldiff.errors import InvalidSchema
from smoldiff.schema.keywords import check_words, show
from smoldiff.schema.merge import Schema, Unmergeable, merge
from smoldiff.schema.place import Place


def inlined(schema: object, place: Place) -> tuple[Schema | bool, int]:
    """The schema without $ref and allOf, and the recursions expanded so far. Raises Unmergeable."""
    if place.is_beyond_limits():
        raise Unmergeable
    num_recursions = place.num_recursions
    if not isinstance(schema, dict):
        return _checked(schema, place.pointer), num_recursions
    merged: Schema | bool = _checked(schema, place.pointer)
    if "$ref" in schema:
        value, inside = place.follow(schema["$ref"])
        if inside is None:
            raise Unmergeable
        target, num_recursions = inlined(value, inside)
        merged = merged_at("$ref", schema, [target], place.pointer)
    if isinstance(merged, dict) and "allOf" in schema:
        parts = [
            inlined(part, place.down("allOf", idx)) for idx, part in enumerate(schema["allOf"])
        ]
        num_recursions = max(num_recursions, *(num for _, num in parts))
        merged = merged_at("allOf", merged, [part for part, _ in parts], place.pointer)
    return merged, num_recursions


def merged_at(word: str, schema: Schema, values: Iterable[object], pointer: str) -> Schema | bool:
    """`schema` without `word`, merged with `values` at the place where the word stands. Raises Unmergeable."""
    words = list(schema)
    before = {key: schema[key] for key in words[: words.index(word)]}
    after = {key: schema[key] for key in words[words.index(word) + 1 :]}
    merged: Schema | bool = {}
    for part in (before, *(_checked(value, pointer) for value in values), after):
        merged = merge(merged, part)
    return merged


def _checked(value: object, pointer: str) -> Schema | bool:
    if isinstance(value, bool):
        return value
    if not isinstance(value, dict):
        raise InvalidSchema(pointer, f"a schema must be an object or a boolean, not {show(value)}")
    check_words(value, pointer)
    return value
