"""unevaluatedProperties and unevaluatedItems: what the schemas around one object have evaluated in this alternative."""

from __future__ import annotations

from dataclasses import dataclass

from smoldiff.schema.conjunction import Fact
from smoldiff.schema.part import Part, Schema
from smoldiff.schema.place import Place


@dataclass(frozen=True, slots=True)
class Members:
    """The keys that are evaluated, as a rule that says nothing of them, and `rest` of all others."""

    place: Place
    named: Schema
    patterns: Schema
    rest: object


def unevaluated_members(facts: list[Fact]) -> list[Members]:
    """A rule for each unevaluatedProperties under which not every key is evaluated."""
    found = []
    for fact in facts:
        if fact.schema.get("unevaluatedProperties", True) is True:
            continue
        inside = _inside(fact, facts)
        all_words = ("additionalProperties", "unevaluatedProperties")
        if any(word in one.schema for one in inside for word in all_words if one is not fact):
            continue
        if "additionalProperties" in fact.schema:
            continue
        named = [name for one in inside for name in one.schema.get("properties", {})]
        patterns = [name for one in inside for name in one.schema.get("patternProperties", {})]
        rest = fact.schema["unevaluatedProperties"]
        found.append(
            Members(fact.place, dict.fromkeys(named, True), dict.fromkeys(patterns, True), rest)
        )
    return found


@dataclass(frozen=True, slots=True)
class Rest:
    """Items from position `start` on."""

    start: int
    part: Part


def unevaluated_items(facts: list[Fact]) -> list[Rest]:
    """What holds for the items that nothing has evaluated."""
    found = []
    for fact in facts:
        if fact.schema.get("unevaluatedItems", True) is True:
            continue
        inside = _inside(fact, facts)
        if any(_evaluates_all(one.schema, one is fact) for one in inside):
            continue
        start = max((_num_prefix(one.schema) for one in inside), default=0)
        schema = fact.schema["unevaluatedItems"]
        part = Part(schema, fact.place.down("unevaluatedItems"))
        matching = [
            Part(one.schema["contains"], one.place.down("contains"))
            for one in inside
            if "contains" in one.schema
        ]
        if not matching:
            found.append(Rest(start, part))
        elif schema is False and len(matching) == 1:
            found.append(Rest(start, matching[0]))
    return found


def _evaluates_all(schema: Schema, is_itself: bool) -> bool:
    items = schema.get("items", [])
    return (
        not isinstance(items, list)
        or ("additionalItems" in schema and isinstance(schema.get("items"), list))
        or ("unevaluatedItems" in schema and not is_itself)
    )


def _num_prefix(schema: Schema) -> int:
    items = schema.get("items")
    return len(schema.get("prefixItems", items if isinstance(items, list) else ()))


def _inside(fact: Fact, facts: list[Fact]) -> list[Fact]:
    """The facts of the schema object itself and of the schemas applied inside it to the same value.

    What stands under a negation evaluates nothing, but for a schema that stands there itself.
    """
    depth = len(fact.path)
    return [
        one
        for one in facts
        if one.path[:depth] == fact.path and (fact.is_silent or not one.is_silent)
    ]
