"""`unevaluatedProperties` and `unevaluatedItems`: what no other keyword has looked at (2020-12 core, 11; 2019-09, 9.3.1).

A branch that a value does not satisfy has looked at nothing. What must hold anyway (`allOf`, `$ref`) is taken to hold:
where it does not, its own error is reported.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jsonschema.exceptions import ValidationError
from referencing.jsonschema import DRAFT202012

from smoldiff.schema.assertions import Errors, is_named
from smoldiff.schema.references import TARGETS, followed, holds

Seen = set[Any]


def unevaluated_properties(validator: Any, part: Any, value: Any, schema: Any) -> Errors:
    if not isinstance(value, dict):
        return
    seen = _seen_properties(validator, value, schema)
    yield from _judge(
        validator, part, {n: v for n, v in value.items() if n not in seen}, "properties"
    )


def unevaluated_items(validator: Any, part: Any, value: Any, schema: Any) -> Errors:
    if not isinstance(value, list):
        return
    seen = _seen_items(validator, value, schema)
    yield from _judge(
        validator, part, {i: v for i, v in enumerate(value) if i not in seen}, "items"
    )


def _judge(validator: Any, part: Any, rest: dict[Any, Any], kind: str) -> Errors:
    if part is not False:
        for place, inner in rest.items():
            yield from validator.descend(inner, part, path=place)
    elif rest:
        listed = ", ".join(map(repr, rest if kind == "properties" else rest.values()))
        were = "was" if len(rest) == 1 else "were"
        yield ValidationError(f"Unevaluated {kind} are not allowed ({listed} {were} unexpected)")


def _seen_properties(validator: Any, value: dict[str, Any], schema: Any) -> Seen:
    if "additionalProperties" in schema:
        return set(value)
    seen = {name for name in value if is_named(name, schema)}
    for other, inner in _applied(validator, value, schema):
        seen |= (
            set(value)
            if "unevaluatedProperties" in inner
            else _seen_properties(other, value, inner)
        )
    return seen


def _seen_items(validator: Any, value: list[Any], schema: Any) -> Seen:
    everything = set(range(len(value)))
    items = schema.get("items")
    is_array_form = isinstance(items, list)
    if "items" in schema and not (is_array_form and "additionalItems" not in schema):
        return everything
    first = items if is_array_form else schema.get("prefixItems", ())
    seen = set(range(min(len(first), len(value))))
    if "contains" in schema and "$dynamicRef" in validator.VALIDATORS:  # not before 2020-12
        seen |= {i for i in everything - seen if holds(validator, value[i], schema["contains"])}
    for other, inner in _applied(validator, value, schema):
        seen |= everything if "unevaluatedItems" in inner else _seen_items(other, value, inner)
    return seen


def _applied(validator: Any, value: Any, schema: Any) -> Iterator[tuple[Any, dict[str, Any]]]:
    """The schemas that a schema applies to the same value, each with a validator that resolves its references."""
    for keyword in TARGETS:
        if keyword in schema and keyword in validator.VALIDATORS:
            with followed(validator, keyword, value, schema, "seen") as resolved:
                yield from _inside(validator, resolved.contents, resolved.resolver)
    for part in schema.get("allOf", ()):
        yield from _inside(validator, part)
    for part in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        if holds(validator, value, part):
            yield from _inside(validator, part)
    for name, part in schema.get("dependentSchemas", {}).items():
        if name in value:
            yield from _inside(validator, part)
    if "if" in schema:
        is_met = holds(validator, value, schema["if"])
        if is_met:
            yield from _inside(validator, schema["if"])
        yield from _inside(validator, schema.get("then" if is_met else "else", True))


def _inside(
    validator: Any, part: Any, resolver: Any = None
) -> Iterator[tuple[Any, dict[str, Any]]]:
    if isinstance(part, dict):
        # `$id` means the same in both drafts that have these keywords.
        resolver = resolver or validator._resolver.in_subresource(DRAFT202012.create_resource(part))
        yield validator.evolve(schema=part, _resolver=resolver), part
