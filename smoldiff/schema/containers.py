"""Objects and arrays as nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from smoldiff.errors import UnsatisfiableSchema
from smoldiff.schema.nodes import Array, Node, Object, Opaque, Others, Property, String
from smoldiff.schema.place import Place

Schema = dict[str, Any]
Parse = Callable[[object, Place], Node]


def parse_object(schema: Schema, place: Place, parse: Parse) -> Node:
    """Properties in schema order, then the required names that have none, as the grammar engine writes them."""
    named: Schema = schema.get("properties", {})
    required = list(dict.fromkeys(schema.get("required", ())))
    rest = schema.get("additionalProperties", True)
    if not _is_count_implied(schema, len(named), len(required)):
        place.shared.has_unread = True
        return Opaque(place.pointer, ("object",), is_free=False)
    properties = [_property(name, named[name], name in required, place, parse) for name in named]
    extra = [_extra(name, rest, place, parse) for name in required if name not in named]
    if rest is not False and not properties and not extra:
        return Opaque(place.pointer, ("object",), is_free=rest is True)
    additional = None if rest is False else _additional(rest, place.optional(), parse)
    others = (Others(String(place.pointer), additional),) if additional else ()
    return Object(place.pointer, (*filter(None, properties), *extra), others)


def _is_count_implied(schema: Schema, num_named: int, num_required: int) -> bool:
    """Whether minProperties and maxProperties say no more than `required` and a closed object do."""
    is_closed = schema.get("additionalProperties", True) is False
    fewest, most = schema.get("minProperties", 0), schema.get("maxProperties")
    return fewest <= num_required and (most is None or (is_closed and most >= num_named))


def _property(
    name: str, schema: object, is_required: bool, place: Place, parse: Parse
) -> Property | None:
    """None for an optional property that no value satisfies: an object may still do without it."""
    inside = place.down("properties", name)
    if is_required:
        return Property(name, parse(schema, inside), True)
    try:
        return Property(name, parse(schema, inside.optional()), False)
    except UnsatisfiableSchema:
        return None


def _extra(name: str, rest: object, place: Place, parse: Parse) -> Property:
    if rest is False:
        raise UnsatisfiableSchema(
            place.down("required").pointer,
            f"{name!r} is required, but is no property and no other key is allowed",
        )
    return Property(name, _additional(rest, place, parse), True)


def _additional(rest: object, place: Place, parse: Parse) -> Node:
    inside = place.down("additionalProperties")
    return Opaque(inside.pointer) if rest is True else parse(rest, inside)


def parse_array(schema: Schema, place: Place, parse: Parse) -> Array:
    """`prefixItems` and `items`, or the older `items` list and `additionalItems`."""
    word, prefix, rest_word, rest = _items(schema)
    fewest, most = int(schema.get("minItems", 0)), schema.get("maxItems")
    if rest is False:
        most = len(prefix) if most is None else min(most, len(prefix))
    most = None if most is None else int(most)
    if most is not None and fewest > most:
        raise UnsatisfiableSchema(
            place.pointer, f"minItems is {fewest}, but there can be at most {most} items"
        )
    shown = prefix if most is None else prefix[:most]
    parts = [
        parse(part, _item_place(place, idx < fewest, word, idx)) for idx, part in enumerate(shown)
    ]
    has_rest = most is None or most > len(parts)
    item = parse(rest, _item_place(place, len(parts) < fewest, rest_word)) if has_rest else None
    return Array(place.pointer, tuple(parts), item, fewest, most, schema.get("uniqueItems", False))


def _items(schema: Schema) -> tuple[str, list[object], str, object]:
    items = schema.get("items", True)
    if "prefixItems" in schema:
        return "prefixItems", schema["prefixItems"], "items", items
    if isinstance(items, list):
        return "items", items, "additionalItems", schema.get("additionalItems", True)
    return "prefixItems", [], "items", items


def _item_place(place: Place, is_needed: bool, *steps: str | int) -> Place:
    inside = place.down(*steps)
    return inside if is_needed else inside.optional()
