"""The choices of a schema as options, of which one must hold: anyOf, oneOf, if, and what depends on a key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain, combinations, islice
from typing import Any

from smoldiff.errors import UnresolvableRef
from smoldiff.schema.negate import is_vague, ways_to_fail
from smoldiff.schema.part import Exclusion, Option, Part, Schema
from smoldiff.schema.values import identity, is_of_type


def inclusive(part: Part, schema: Schema, idx: int) -> list[Option]:
    """anyOf: each branch, and where it matters what is evaluated also several of them together."""
    if _are_many_values(schema["anyOf"]):
        values = [one["const"] for one in schema["anyOf"]]
        return [(part.made(("anyOf", "values"), {"enum": values}),)]
    branches = _branches(part, schema["anyOf"], idx, "anyOf")
    sizes = range(1, len(branches) + 1) if part.place.shared.document.has_unevaluated else (1,)
    options = chain.from_iterable(combinations(branches, size) for size in sizes)
    return [*islice(options, max(len(branches), part.place.shared.limits.max_alternatives + 1))]


def exclusive(part: Part, schema: Schema, idx: int) -> list[Option]:
    """oneOf: each branch, and that the others fail, where that is simple to say and not evident anyway."""
    branches = _branches(part, schema["oneOf"], idx, "oneOf")
    limits = part.place.shared.limits
    if len(branches) > limits.max_exclusions:
        return [(branch,) for branch in branches]
    known = [_evidence(branch) for branch in branches]
    options: list[Option] = []
    for at, branch in enumerate(branches):
        rivals = [
            other.negated()
            for num, other in enumerate(branches)
            if num != at and not _differ(known[at], known[num])
        ]
        simple = [one for one in rivals if _is_simple(one, known[at], limits.max_negated)]
        options.append((branch, *simple))
    return options


def conditional(part: Part, schema: Schema, idx: int) -> list[Option]:
    """if: the condition and `then`, or its failure and `else`. Alone, it only evaluates members where it holds."""
    has_outcome = "then" in schema or "else" in schema
    if not has_outcome and not part.place.shared.document.has_unevaluated:
        return [()]
    condition = part.applied(schema["if"], (idx, 0), "if")
    words = list(schema)
    then, otherwise = (
        (part.applied(schema[word], (words.index(word),), word),) if word in schema else ()
        for word in ("then", "else")
    )
    if schema["if"] is True:
        return [then]
    if schema["if"] is False:
        return [otherwise]
    return [(condition, *then), (condition.negated(), *otherwise)]


def dependent(part: Part, schema: Schema, idx: int) -> Iterator[list[Option]]:
    """Schemas that hold where a key is there: for each key, without it or with both."""
    word = list(schema)[idx]
    for at, (key, value) in enumerate(schema[word].items()):
        if isinstance(value, list | str) or value is True:
            continue
        absent = part.made((word, "absent", key), {"properties": {key: False}})
        present = part.made((word, "present", key), {"required": [key]})
        yield [(absent,), (present, part.applied(value, (idx, at), word, key))]


MANY_VALUES = 64
"""Constants of which a choice is read as one enumeration."""


def _are_many_values(branches: list[Any]) -> bool:
    return len(branches) > MANY_VALUES and all(
        isinstance(one, dict) and one.keys() == {"const"} for one in branches
    )


def _branches(part: Part, values: list[object], idx: int, word: str) -> list[Part]:
    return [part.applied(value, (idx, at), word, at) for at, value in enumerate(values)]


Shown = tuple[frozenset[str] | None, frozenset[Any] | None]
Evidence = Mapping[str, Shown]
"""For "" and each required property: the types, and the identities of the only values that it may have."""


def _is_simple(negated: Part, rival: Evidence, max_ways: int) -> bool:
    """Whether a branch fails in few ways, all of which can be said, where a value is what `rival` shows."""
    ways: list[Option] = [(negated,)]
    while len(ways) == 1 and len(ways[0]) == 1 and _is_open(ways[0][0]):
        ways = ways_to_fail(ways[0][0], ways[0][0].schema)  # type: ignore[arg-type]
        ways = [way for way in ways if not _is_ruled_out(way, rival)]
    return len(ways) <= max_ways and not any(map(is_vague, ways))


def _is_open(part: Part) -> bool:
    return part.is_negated and isinstance(part.schema, dict)


def _is_ruled_out(way: Option, rival: Evidence) -> bool:
    types = rival.get("", (None, None))[0]
    return types is not None and any(
        isinstance(one.schema, Exclusion) and types <= set(one.schema.types) for one in way
    )


def _evidence(part: Part) -> Evidence:
    """What is evident of a branch: types and fixed values, of itself under "" and of its required properties."""
    schema = _target(part)
    if schema is None:
        return {}
    found = {"": _shown(schema)}
    named, required = schema.get("properties"), schema.get("required")
    if isinstance(named, dict) and isinstance(required, list):
        for name in required:
            inner = named.get(name) if isinstance(name, str) else None
            if isinstance(inner, dict) and name:
                found[name] = _shown(inner)
    return found


def _target(part: Part) -> Schema | None:
    """The schema behind references that stand alone."""
    schema, place = part.schema, part.place
    for _ in range(8):
        if not isinstance(schema, dict) or not isinstance(schema.get("$ref"), str):
            break
        try:
            _, schema, _ = place.shared.document.resolve(schema["$ref"], "", place.base)
        except UnresolvableRef:
            return None
    return schema if isinstance(schema, dict) else None


def _shown(schema: Schema) -> Shown:
    named = schema.get("type")
    listed = [named] if isinstance(named, str) else named
    types = frozenset(map(str, listed)) if isinstance(listed, list) else None
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if not isinstance(values, list):
        return types, None
    if types is not None:
        values = [one for one in values if any(is_of_type(one, name) for name in types)]
    return types, frozenset(map(identity, values))


def _differ(first: Evidence, second: Evidence) -> bool:
    """Whether no value satisfies both. Required properties only tell apart where both are surely objects."""
    both = first.keys() & second.keys()
    are_objects = all(
        one.get("", (None, None))[0] == frozenset({"object"}) for one in (first, second)
    )
    return any(
        _exclude_each_other(first[name], second[name]) for name in both if not name or are_objects
    )


def _exclude_each_other(first: Shown, second: Shown) -> bool:
    (types, values), (other_types, other_values) = first, second
    if values is not None and other_values is not None:
        return values.isdisjoint(other_values)
    if types is None or other_types is None:
        return False
    numbers = {"integer", "number"}
    return types.isdisjoint(other_types) and not (types & numbers and other_types & numbers)
