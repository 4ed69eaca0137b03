"""All that must hold of one value at once: schemas are taken apart until only facts, exclusions and splits are left.

The method is that of a tableau: allOf and references add to the conjunction, while anyOf, oneOf, if, dependent schemas
and most negations split it into alternatives, which are worked out one by one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from smoldiff.errors import InvalidSchema, UnsatisfiableSchema
from smoldiff.schema.alternatives import conditional, dependent, exclusive, inclusive
from smoldiff.schema.keywords import FACT_WORDS, HONOURED, LEFT_TO_GRAMMAR, check_words, show
from smoldiff.schema.negate import ways_to_fail
from smoldiff.schema.part import Exclusion, Option, Part, Path, Schema, followed
from smoldiff.schema.place import Place
from smoldiff.schema.values import Values


@dataclass(frozen=True, slots=True)
class Split:
    """Ways to go on, of which one must be gone."""

    options: tuple[Option, ...]


@dataclass(frozen=True, slots=True)
class Fact:
    """A schema object that holds, read only for its words about members, items, characters and bounds."""

    schema: Schema
    place: Place
    path: Path
    order: Path
    is_silent: bool


@dataclass(slots=True)
class Conjunction:
    """What is known of one value. `is_wide`: something that constrains it was left out."""

    pointer: str
    parts: list[Part] = field(default_factory=list)
    types: tuple[str, ...] | None = None
    values: Values | None = None
    facts: list[Fact] = field(default_factory=list)
    excluded_types: tuple[str, ...] = ()
    excluded_values: tuple[object, ...] = ()
    excluded_patterns: tuple[str, ...] = ()
    splits: list[Split] = field(default_factory=list)
    is_wide: bool = False
    num_ways: int = 1

    def copy(self, pointer: str, num_ways: int) -> Conjunction:
        return replace(
            self,
            pointer=pointer,
            parts=[*self.parts],
            facts=[*self.facts],
            splits=[*self.splits],
            num_ways=num_ways,
        )

    @property
    def is_empty(self) -> bool:
        return (
            self.types is None
            and self.values is None
            and not (self.facts or self.splits or self.is_wide)
            and not (self.excluded_types or self.excluded_values or self.excluded_patterns)
        )

    @property
    def says_only_types(self) -> bool:
        return not (self.facts or self.excluded_values or self.excluded_patterns)

    @property
    def ordered_facts(self) -> list[Fact]:
        """The facts in the order in which they are written."""
        return self.facts if len(self.facts) < 2 else sorted(self.facts, key=lambda one: one.order)

    def add(self, parts: Iterable[Part]) -> None:
        """Let these parts hold too. Raises UnsatisfiableSchema as soon as nothing is left."""
        todo = list(parts)
        self.parts += todo
        todo.reverse()
        while todo:
            part = todo.pop()
            todo += reversed(self._opened(part))

    def _opened(self, part: Part) -> list[Part]:
        """Note what a part says itself; the parts that it consists of."""
        schema, place = part.schema, part.place
        if isinstance(schema, Exclusion):
            self._exclude(schema)
            return []
        if isinstance(schema, bool):
            if schema is part.is_negated:
                raise UnsatisfiableSchema(place.pointer, _NOTHING[schema])
            return []
        if not isinstance(schema, dict):
            raise InvalidSchema(
                place.pointer, f"a schema must be an object or a boolean, not {show(schema)}"
            )
        if place.is_beyond_limits():
            self.leave_out(part)
            return []
        check_words(schema, place.pointer)
        part = part.in_place()
        return self._opened_negation(part, schema) if part.is_negated else self._read(part, schema)

    def _opened_negation(self, part: Part, schema: Schema) -> list[Part]:
        return self._one_of(ways_to_fail(part, schema), part)

    def _read(self, part: Part, schema: Schema) -> list[Part]:
        inside: list[Part] = []
        first_fact = -1
        ignores_siblings = "$ref" in schema and part.place.shared.document.ignores_siblings
        for idx, word in enumerate(schema):
            if word not in HONOURED:
                if word in LEFT_TO_GRAMMAR:
                    self.leave_out(part)
                continue
            if ignores_siblings and word != "$ref":
                continue
            if word in FACT_WORDS and (first_fact < 0 or word == "properties"):
                first_fact = idx
            reader = _READERS.get(word)
            if reader is not None:
                inside += reader(self, part, schema, idx)
        if first_fact >= 0:
            order = (*part.path, first_fact)
            self.facts.append(Fact(schema, part.place, part.path, order, part.is_silent))
        return inside

    def make_optional(self) -> None:
        """Let a value do without the members and items that the facts speak of."""
        self.facts = [replace(fact, place=fact.place.optional()) for fact in self.facts]

    def leave_out(self, part: Part) -> None:
        """A part that constrains the value is not looked at."""
        part.place.shared.has_unread = True
        self.is_wide = True

    def restrict(self, names: tuple[str, ...]) -> None:
        """Only these types."""
        if self.types is None:
            self.types = tuple(dict.fromkeys(names))
            return
        before, self.types = self.types, common_types(self.types, names)
        if not self.types:
            raise UnsatisfiableSchema(
                self.pointer,
                f"no value is of type {' or '.join(before)} and of type {' or '.join(names)}",
            )

    def _exclude(self, exclusion: Exclusion) -> None:
        self.excluded_types += exclusion.types
        self.excluded_values += exclusion.values
        self.excluded_patterns += exclusion.patterns
        self.is_wide |= exclusion.is_unsaid

    def _read_type(self, part: Part, schema: Schema, idx: int) -> list[Part]:
        named = schema["type"]
        self.restrict(tuple(named) if isinstance(named, list) else (named,))
        return []

    def _read_values(self, part: Part, schema: Schema, idx: int) -> list[Part]:
        word = list(schema)[idx]
        values = Values(schema["enum"] if word == "enum" else [schema["const"]])
        self.values = values if self.values is None else self.values.common(values)
        return []

    def _read_ref(self, part: Part, schema: Schema, idx: int) -> list[Part]:
        word = list(schema)[idx]
        target = followed(part, word, (idx,))
        if target is None:
            self.is_wide = True
            return []
        if isinstance(target, tuple):
            self.restrict(target)
            self.is_wide = True
            return []
        return [target]

    def _read_all_of(self, part: Part, schema: Schema, idx: int) -> list[Part]:
        return [part.applied(one, (idx, at), "allOf", at) for at, one in enumerate(schema["allOf"])]

    def _read_choice(self, part: Part, schema: Schema, idx: int) -> list[Part]:
        word = list(schema)[idx]
        return self._one_of((inclusive if word == "anyOf" else exclusive)(part, schema, idx), part)

    def _read_not(self, part: Part, schema: Schema, idx: int) -> list[Part]:
        return [part.applied(schema["not"], (idx,), "not").negated()]

    def _read_if(self, part: Part, schema: Schema, idx: int) -> list[Part]:
        return self._one_of(conditional(part, schema, idx), part)

    def _read_dependent(self, part: Part, schema: Schema, idx: int) -> list[Part]:
        found: list[Part] = []
        for options in dependent(part, schema, idx):
            found += self._one_of(options, part)
        return found

    def _one_of(self, options: list[Option], part: Part) -> list[Part]:
        """What follows at once if only one way is left; else the choice is put off."""
        if not options:
            raise UnsatisfiableSchema(part.place.pointer, "there is no way to satisfy this")
        if len(options) == 1:
            return list(options[0])
        self.splits.append(Split(tuple(options)))
        return []


_NOTHING = {False: "false allows no value", True: "a `not` of what always holds allows no value"}
_READERS = {
    "type": Conjunction._read_type,
    "enum": Conjunction._read_values,
    "const": Conjunction._read_values,
    "$ref": Conjunction._read_ref,
    "$dynamicRef": Conjunction._read_ref,
    "$recursiveRef": Conjunction._read_ref,
    "allOf": Conjunction._read_all_of,
    "anyOf": Conjunction._read_choice,
    "oneOf": Conjunction._read_choice,
    "not": Conjunction._read_not,
    "if": Conjunction._read_if,
    "dependentSchemas": Conjunction._read_dependent,
    "dependencies": Conjunction._read_dependent,
}


def common_types(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    """The types of both, in the order of the first; an integer is a number."""
    both = [name for name in first if name in second or (name == "integer" and "number" in second)]
    if "number" in first and "integer" in second and "integer" not in both:
        both.append("integer")
    return tuple(both)
