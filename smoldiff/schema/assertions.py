"""Keywords that are judged otherwise than jsonschema does: exactly, in linear time, or the ECMA way.

Each is a function of jsonschema's form: (validator, the keyword's value, instance, schema) -> errors.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal, localcontext
from typing import Any

from jsonschema.exceptions import ValidationError

from smoldiff.schema import equality, formats, matching

_DIGITS = 6000  # more than Python reads of an integer (4300), and 632 that a quotient of floats has

Errors = Iterator[ValidationError]


class Unjudgeable(Exception):
    """A part of a schema by which nothing can be judged: `keyword` in `schema`, an object of the document itself."""

    def __init__(self, schema: Any, keyword: str, problem: str) -> None:
        self.schema = schema
        self.keyword = keyword
        self.problem = problem
        super().__init__(problem)


_TYPES = {
    str: "string",
    int: "integer",
    bool: "boolean",
    dict: "object",
    list: "array",
    type(None): "null",
}


def quick_type(slow: Any) -> Any:
    """The keyword `type` of a draft, asked only where the value's class does not already answer it."""

    def type_(validator: Any, types: Any, value: Any, schema: Any) -> Any:
        return () if _TYPES.get(type(value)) == types else slow(validator, types, value, schema)

    return type_


def multiple_of(validator: Any, step: Any, number: Any, schema: Any) -> Errors:
    if not validator.is_type(number, "number"):
        return
    with localcontext(prec=_DIGITS):
        rest = Decimal(number) % step
    if rest:
        yield ValidationError(f"{number!r} is not a multiple of {step}")


def unique_items(validator: Any, is_asked: Any, items: Any, schema: Any) -> Errors:
    if is_asked and isinstance(items, list) and not equality.is_unique(items):
        yield ValidationError(f"{items!r} has non-unique elements")


def enum(validator: Any, options: Any, value: Any, schema: Any) -> Errors:
    if not equality.is_among(value, options):
        yield ValidationError(f"{value!r} is not one of {options!r}")


def const(validator: Any, option: Any, value: Any, schema: Any) -> Errors:
    if not equality.is_among(value, [option]):
        yield ValidationError(f"{option!r} was expected")


def format_(validator: Any, name: Any, text: Any, schema: Any) -> Errors:
    if isinstance(text, str) and not formats.conforms(text, name):
        yield ValidationError(f"{text!r} is not a {name!r}")


def pattern(validator: Any, pattern: Any, text: Any, schema: Any) -> Errors:
    if isinstance(text, str) and not _matches(pattern, text, schema, "pattern"):
        yield ValidationError(f"{text!r} does not match {pattern!r}")


def pattern_properties(validator: Any, parts: Any, value: Any, schema: Any) -> Errors:
    if not isinstance(value, dict):
        return
    for pattern, part in parts.items():
        for name, inner in value.items():
            if _matches(pattern, name, schema, "patternProperties"):
                yield from validator.descend(inner, part, path=name, schema_path=pattern)


def additional_properties(validator: Any, part: Any, value: Any, schema: Any) -> Errors:
    if not isinstance(value, dict):
        return
    names = [name for name in value if not is_named(name, schema)]
    if part is not False:
        for name in names:
            yield from validator.descend(value[name], part, path=name)
    elif names:
        were = "was" if len(names) == 1 else "were"
        listed = ", ".join(map(repr, names))
        yield ValidationError(f"Additional properties are not allowed ({listed} {were} unexpected)")


def is_named(name: str, schema: Any) -> bool:
    """Whether a schema's own `properties` or `patternProperties` speak of a property."""
    return name in schema.get("properties", ()) or any(
        _matches(pattern, name, schema, "patternProperties")
        for pattern in schema.get("patternProperties", ())
    )


def _matches(pattern: str, text: str, schema: Any, keyword: str) -> bool:
    try:
        return matching.matches(pattern, text)
    except matching.PatternError as problem:
        raise Unjudgeable(schema, keyword, str(problem)) from None
