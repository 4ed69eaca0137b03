"""Objects: every schema object that speaks of members is one rule, and a member must follow all rules that meet its key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from smoldiff.errors import UnsatisfiableSchema
from smoldiff.schema.conjunction import Conjunction, Fact
from smoldiff.schema.keynames import KeyNames, read_key_names
from smoldiff.schema.matching import PatternError, matches
from smoldiff.schema.needs import Needs, with_needed
from smoldiff.schema.nodes import Node, Object, Opaque, Others, Property, String
from smoldiff.schema.part import Part, Schema, optional
from smoldiff.schema.place import NO_VALUE, Place, Shared
from smoldiff.schema.pointers import child
from smoldiff.schema.unevaluated import unevaluated_members

NodeOf = Callable[[Sequence[Part]], Node]
_ABSENT = object()


@dataclass(frozen=True, slots=True)
class Rule:
    """What one schema object says of members: by name, by pattern, or else `rest`."""

    place: Place
    named: Schema
    patterns: Schema
    rest: object
    rest_word: str = "additionalProperties"

    def parts(self, key: str) -> list[Part]:
        """What it says of the member with this key."""
        found = (
            [Part(self.named[key], self.place.down("properties", key))] if key in self.named else []
        )
        found += [self._pattern_part(pattern) for pattern in self.patterns if is_met(pattern, key)]
        return found if found else self._rest_parts()

    def parts_of_kind(self, met: frozenset[str]) -> list[Part]:
        """What it says of a member whose key has no name here and meets exactly these patterns."""
        found = [self._pattern_part(pattern) for pattern in self.patterns if pattern in met]
        return found if found else self._rest_parts()

    def _pattern_part(self, pattern: str) -> Part:
        return Part(self.patterns[pattern], self.place.down("patternProperties", pattern))

    def _rest_parts(self) -> list[Part]:
        if self.rest is _ABSENT or self.rest is True:
            return []
        return [Part(self.rest, self.place.down(self.rest_word))]


@dataclass(slots=True)
class _Draft:
    """An object in the making."""

    conjunction: Conjunction
    rules: list[Rule]
    names: KeyNames
    node_of: NodeOf
    required: frozenset[str]
    properties: list[Property]
    forbidden: list[str]
    unread: Opaque
    """The node of every member that is not looked at because too much was read before."""

    @property
    def shared(self) -> Shared:
        return self.conjunction.parts[0].place.shared

    @property
    def pointer(self) -> str:
        return self.conjunction.pointer

    def add(self, key: str) -> None:
        """The member with this name, if any value may stand there."""
        is_required = key in self.required
        if not self.names.allows(key):
            if is_required:
                raise UnsatisfiableSchema(
                    child(self.pointer, "propertyNames"), f"{key!r} is required, but forbidden"
                )
            self.forbidden.append(key)
            return
        try:
            self.properties.append(Property(key, self._member(key, is_required), is_required))
        except NO_VALUE:
            if is_required:
                raise
            self.forbidden.append(key)

    def _member(self, key: str, is_required: bool) -> Node:
        if self.shared.is_spent:
            self.shared.has_unread = True
            return self.unread
        parts = [part for rule in self.rules for part in rule.parts(key)]
        if not parts:
            return Opaque(child(self.pointer, "additionalProperties"))
        closing = next((part for part in parts if part.schema is False), None)
        if closing is not None and is_required:
            raise self._clash(key, closing.place.pointer)
        return self.node_of(parts if is_required else optional(parts))

    def _clash(self, key: str, pointer: str) -> UnsatisfiableSchema:
        if not pointer.endswith("Properties"):
            return UnsatisfiableSchema(
                pointer, f"{key!r} is required, but another part of the schema forbids it here"
            )
        return UnsatisfiableSchema(
            child(self.pointer, "required"),
            f"{key!r} is required, but is no property and no other key is allowed",
        )

    def others(self) -> tuple[Others, ...]:
        """The kinds of members without a name: by the patterns that their keys meet, then all other keys."""
        patterns = tuple(dict.fromkeys(p for rule in self.rules for p in rule.patterns))
        found = (self._other(kind) for kind in kinds_of_keys(patterns))
        return tuple(one for one in found if one is not None)

    def _other(self, kind: tuple[frozenset[str], tuple[str, ...]]) -> Others | None:
        met, excluded = kind
        try:
            keys = self.names.keys(self.pointer, tuple(sorted(met)), excluded)
            parts = [part for rule in self.rules for part in rule.parts_of_kind(met)]
            if not parts:
                return Others(keys, Opaque(child(self.pointer, "additionalProperties")))
            return Others(keys, self.node_of(optional(parts)))
        except NO_VALUE:
            return None


def build_object(conjunction: Conjunction, node_of: NodeOf) -> Node:
    """Properties in schema order, then the required names that have none, as the grammar engine writes them."""
    facts = conjunction.ordered_facts
    rules = [
        *filter(None, map(_rule, facts)),
        *(
            Rule(one.place, one.named, one.patterns, one.rest, "unevaluatedProperties")
            for one in unevaluated_members(facts)
        ),
    ]
    required = tuple(
        dict.fromkeys(name for fact in facts for name in fact.schema.get("required", ()))
    )
    names = read_key_names(facts, node_of)
    unread = Opaque(conjunction.pointer, is_free=False)
    draft = _Draft(conjunction, rules, names, node_of, frozenset(required), [], [], unread)
    named = dict.fromkeys(name for rule in rules for name in rule.named)
    bound = [name for key, names_needed in _needs(facts) for name in (key, *names_needed)]
    for key in dict.fromkeys((*named, *required, *names.listed, *bound)):
        draft.add(key)
    others = () if names.is_finite else draft.others()
    _leave_out_unmet(draft, _needs(facts), _most(facts))
    return _counted(draft, others, facts)


def _leave_out_unmet(draft: _Draft, needs: Needs, most: int | None) -> None:
    """Forbid the keys whose needs cannot be met: a key that cannot be there, or more keys than there may be."""
    by_key = dict(needs)
    closures = {key: with_needed((key,), by_key) for key in by_key}
    present = {one.name for one in draft.properties}
    for key, needed in closures.items():
        is_too_much = most is not None and len(needed | draft.required) > most
        if key not in present or (needed <= present and not is_too_much):
            continue
        if key in draft.required:
            raise UnsatisfiableSchema(
                child(draft.pointer, "required"),
                f"{key!r} is required, but what it needs cannot be",
            )
        draft.properties[:] = [one for one in draft.properties if one.name != key]
        draft.forbidden.append(key)


def _rule(fact: Fact) -> Rule | None:
    schema = fact.schema
    if not any(word in schema for word in _RULE_WORDS):
        return None
    return Rule(
        fact.place,
        schema.get("properties", {}),
        schema.get("patternProperties", {}),
        schema.get("additionalProperties", _ABSENT),
    )


_RULE_WORDS = ("properties", "patternProperties", "additionalProperties")


def _counted(draft: _Draft, others: tuple[Others, ...], facts: list[Fact]) -> Node:
    """The object with its counts, where they say more than its members do."""
    pointer = draft.pointer
    fewest = int(max((fact.schema.get("minProperties", 0) for fact in facts), default=0))
    most = _most(facts)
    num_named, num_required = len(draft.properties), len(draft.required)
    possible = num_named if not others else None
    highest = min((count for count in (most, possible) if count is not None), default=None)
    if highest is not None and highest < max(fewest, num_required):
        raise UnsatisfiableSchema(
            pointer,
            f"at least {max(fewest, num_required)} members are asked for, but there can be at most {highest}",
        )
    fewest = 0 if fewest <= num_required else fewest
    most = None if possible is not None and most is not None and most >= possible else most
    forbidden, needs = tuple(draft.forbidden) if others else (), _needs(facts)
    says_nothing = not (draft.properties or fewest or forbidden or needs) and most is None
    if says_nothing and _is_free(others):
        return Opaque(pointer, ("object",), is_free=not draft.conjunction.is_wide)
    return Object(pointer, tuple(draft.properties), others, fewest, most, forbidden, needs)


def _most(facts: list[Fact]) -> int | None:
    mosts = [fact.schema["maxProperties"] for fact in facts if "maxProperties" in fact.schema]
    return int(min(mosts)) if mosts else None


def _is_free(others: tuple[Others, ...]) -> bool:
    if len(others) != 1:
        return False
    keys, node = others[0].keys, others[0].node
    return keys == String(keys.pointer) and node == Opaque(node.pointer)


def _needs(facts: list[Fact]) -> Needs:
    needs: dict[str, dict[str, None]] = {}
    for fact in facts:
        for word in ("dependentRequired", "dependencies"):
            for key, value in fact.schema.get(word, {}).items():
                names = [value] if isinstance(value, str) else value
                if isinstance(names, list) and names:
                    needs.setdefault(key, {}).update(dict.fromkeys(names))
    return tuple((key, tuple(names)) for key, names in needs.items())


def is_met(pattern: str, key: str) -> bool:
    """Whether a key meets a pattern; one by which nothing can be judged is taken as not met."""
    try:
        return matches(pattern, key)
    except PatternError:
        return False


def kinds_of_keys(patterns: tuple[str, ...]) -> list[tuple[frozenset[str], tuple[str, ...]]]:
    """The patterns that a kind of key meets, and those that it does not; the last kind meets none.

    Two patterns give a kind for keys of both. Of more, each has a kind whose keys may meet the others too.
    """
    none: tuple[frozenset[str], tuple[str, ...]] = (frozenset(), patterns)
    if len(patterns) == 2:
        first, second = patterns
        single = [(frozenset({first}), (second,)), (frozenset({second}), (first,))]
        return [*single, (frozenset(patterns), ()), none]
    return [*((frozenset({one}), ()) for one in patterns), none]
