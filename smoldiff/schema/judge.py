"""Whether a fixed value may satisfy a schema: three answers, since not every word is judged here."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sized
from dataclasses import replace
from fractions import Fraction
from typing import Any

from smoldiff.errors import UnresolvableRef
from smoldiff.schema.keywords import HONOURED, LEFT_TO_GRAMMAR, check_words
from smoldiff.schema.matching import PatternError, matches
from smoldiff.schema.part import Exclusion, Part, Schema, followed
from smoldiff.schema.values import identity, is_of_type

Verdict = bool | None  # None: not known


def is_possible(value: object, part: Part) -> bool:
    """Whether nothing is known that forbids the value under the part."""
    verdict = judged(value, part)
    return verdict is not False


def judged(value: Any, part: Part) -> Verdict:
    schema, shared = part.schema, part.place.shared
    shared.num_judged += 1
    if isinstance(schema, Exclusion) or shared.num_judged > shared.limits.max_judged:
        return _exclusion(value, schema) if isinstance(schema, Exclusion) else None
    if isinstance(schema, bool):
        return schema is not part.is_negated
    if not isinstance(schema, dict):
        return None
    check_words(schema, part.place.pointer)
    verdict = _all(
        _JUDGES.get(word, _unknown)(value, part, schema)
        for word in schema
        if word in HONOURED or word in LEFT_TO_GRAMMAR
    )
    return verdict if verdict is None or not part.is_negated else not verdict


def _exclusion(value: object, exclusion: Exclusion) -> Verdict:
    is_out = any(is_of_type(value, name) for name in exclusion.types) or identity(value) in {
        identity(one) for one in exclusion.values
    }
    return False if is_out else None


def _all(verdicts: Iterable[Verdict]) -> Verdict:
    is_known = True
    for verdict in verdicts:
        if verdict is False:
            return False
        is_known &= verdict is not None
    return True if is_known else None


def _any(verdicts: Iterable[Verdict]) -> Verdict:
    inverse = _all(_not(verdict) for verdict in verdicts)
    return _not(inverse)


def _not(verdict: Verdict) -> Verdict:
    return None if verdict is None else not verdict


def _below(value: object, part: Part, schema: object, *steps: str | int) -> Verdict:
    return judged(value, Part(schema, part.place.down(*steps)))


def _beside(value: object, part: Part, schema: object, *steps: str | int) -> Verdict:
    return judged(value, Part(schema, part.place.applied(*steps)))


def _unknown(value: Any, part: Part, schema: Schema) -> Verdict:
    return None


def _nothing(value: Any, part: Part, schema: Schema) -> Verdict:
    return True


def _type(value: Any, part: Part, schema: Schema) -> Verdict:
    named = schema["type"]
    names = named if isinstance(named, list) else [named]
    return any(is_of_type(value, name) for name in names)


def _enum(value: Any, part: Part, schema: Schema) -> Verdict:
    made = part.place.shared.made
    key = (id(schema), "enum")
    if key not in made:
        made[key] = frozenset(map(identity, schema["enum"]))
    return identity(value) in made[key]


def _const(value: Any, part: Part, schema: Schema) -> Verdict:
    return identity(value) == identity(schema["const"])


def _ref(word: str) -> Callable[[Any, Part, Schema], Verdict]:
    def judge(value: Any, part: Part, schema: Schema) -> Verdict:
        try:
            target = followed(replace(part, is_negated=False), word, ())
        except UnresolvableRef:
            return None
        return judged(value, target) if isinstance(target, Part) else None

    return judge


def _all_of(value: Any, part: Part, schema: Schema) -> Verdict:
    return _all(_beside(value, part, one, "allOf", at) for at, one in enumerate(schema["allOf"]))


def _any_of(value: Any, part: Part, schema: Schema) -> Verdict:
    return _any(_beside(value, part, one, "anyOf", at) for at, one in enumerate(schema["anyOf"]))


def _one_of(value: Any, part: Part, schema: Schema) -> Verdict:
    verdicts = [_beside(value, part, one, "oneOf", at) for at, one in enumerate(schema["oneOf"])]
    if verdicts.count(True) > 1:
        return False
    if None in verdicts:
        return None
    return verdicts.count(True) == 1


def _negation(value: Any, part: Part, schema: Schema) -> Verdict:
    return _not(_beside(value, part, schema["not"], "not"))


def _if(value: Any, part: Part, schema: Schema) -> Verdict:
    holds = _beside(value, part, schema["if"], "if")
    outcomes = [
        _beside(value, part, schema.get(word, True), word)
        for word, is_taken in (("then", holds is not False), ("else", holds is not True))
        if is_taken
    ]
    return outcomes[0] if holds is not None else (_all(outcomes) or None)


def _count(kind: type[Sized], limit: Callable[[int, Any], bool]) -> Callable[[Any, Any], bool]:
    return lambda value, bound: not isinstance(value, kind) or limit(len(value), bound)


def _number(limit: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def check(value: Any, bound: Any) -> bool:
        is_judged = isinstance(value, int | float) and not isinstance(value, bool)
        return not is_judged or isinstance(bound, bool) or limit(value, bound)

    return check


def _is_multiple(value: Any, step: Any) -> bool:
    if not math.isfinite(value):
        return True  # no JSON value, which is said where the values are written
    return Fraction(str(value)) % Fraction(str(step)) == 0


_SIMPLE: dict[str, Callable[[Any, Any], bool]] = {
    "minLength": _count(str, lambda count, bound: count >= bound),
    "maxLength": _count(str, lambda count, bound: count <= bound),
    "minItems": _count(list, lambda count, bound: count >= bound),
    "maxItems": _count(list, lambda count, bound: count <= bound),
    "minProperties": _count(dict, lambda count, bound: count >= bound),
    "maxProperties": _count(dict, lambda count, bound: count <= bound),
    "exclusiveMinimum": _number(lambda value, bound: value > bound),
    "exclusiveMaximum": _number(lambda value, bound: value < bound),
    "multipleOf": _number(_is_multiple),
    "required": lambda value, names: (
        not isinstance(value, dict) or all(name in value for name in names)
    ),
}


def _simple(word: str) -> Callable[[Any, Part, Schema], Verdict]:
    return lambda value, part, schema: _SIMPLE[word](value, schema[word])


def _bound(word: str, exclusive: str) -> Callable[[Any, Part, Schema], Verdict]:
    """A bound that draft 4's boolean beside it may make exclusive."""
    sign = 1 if word == "minimum" else -1

    def judge(value: Any, part: Part, schema: Schema) -> Verdict:
        if not isinstance(value, int | float) or isinstance(value, bool):
            return True
        if value == schema[word]:
            return schema.get(exclusive) is not True
        return value > schema[word] if sign > 0 else value < schema[word]

    return judge


def _pattern(value: Any, part: Part, schema: Schema) -> Verdict:
    if not isinstance(value, str):
        return True
    try:
        return matches(schema["pattern"], value)
    except PatternError:
        return None


def _format(value: Any, part: Part, schema: Schema) -> Verdict:
    return None if isinstance(value, str) else True


def _members(value: Any, part: Part, schema: Schema) -> Verdict:
    if not isinstance(value, dict):
        return True
    named = schema["properties"]
    return _all(
        _below(value[name], part, named[name], "properties", name) for name in value.keys() & named
    )


def _other_members(value: Any, part: Part, schema: Schema) -> Verdict:
    if not isinstance(value, dict):
        return True
    if "patternProperties" in schema:
        return None
    rest = schema["additionalProperties"]
    named = schema.get("properties", {})
    return _all(
        _below(one, part, rest, "additionalProperties")
        for name, one in value.items()
        if name not in named
    )


def _items(value: Any, part: Part, schema: Schema) -> Verdict:
    if not isinstance(value, list):
        return True
    items, num_prefix = schema["items"], len(schema.get("prefixItems", ()))
    if isinstance(items, list):
        return _prefix(value, part, items)
    return _all(_below(one, part, items, "items") for one in value[num_prefix:])


def _prefix_items(value: Any, part: Part, schema: Schema) -> Verdict:
    return _prefix(value, part, schema["prefixItems"]) if isinstance(value, list) else True


def _prefix(value: list[Any], part: Part, prefix: list[object]) -> Verdict:
    return _all(
        _below(one, part, inner, "items", at)
        for at, (one, inner) in enumerate(zip(value, prefix, strict=False))
    )


def _unique(value: Any, part: Part, schema: Schema) -> Verdict:
    if not isinstance(value, list) or not schema["uniqueItems"]:
        return True
    return len(set(map(identity, value))) == len(value)


_JUDGES: dict[str, Callable[[Any, Part, Schema], Verdict]] = {
    **{word: _simple(word) for word in _SIMPLE},
    "type": _type,
    "enum": _enum,
    "const": _const,
    "$ref": _ref("$ref"),
    "$dynamicRef": _ref("$dynamicRef"),
    "$recursiveRef": _ref("$recursiveRef"),
    "allOf": _all_of,
    "anyOf": _any_of,
    "oneOf": _one_of,
    "not": _negation,
    "if": _if,
    "then": _nothing,
    "else": _nothing,
    "minimum": _bound("minimum", "exclusiveMinimum"),
    "maximum": _bound("maximum", "exclusiveMaximum"),
    "pattern": _pattern,
    "format": _format,
    "properties": _members,
    "additionalProperties": _other_members,
    "items": _items,
    "prefixItems": _prefix_items,
    "uniqueItems": _unique,
}
