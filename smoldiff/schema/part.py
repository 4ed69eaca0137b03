"""What is asked of one value: schemas that must hold or fail, each with its place."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from smoldiff.schema.keywords import is_type
from smoldiff.schema.place import Place

Schema = dict[str, Any]
Path = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Exclusion:
    """What a negation takes away from a value, where no schema says it. `is_unsaid`: the negation is left out."""

    types: tuple[str, ...] = ()
    values: tuple[object, ...] = ()
    patterns: tuple[str, ...] = ()
    is_unsaid: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """A schema that must hold, or fail, of the value here. `path` is where it stands below the conjunction's roots:
    it orders the facts as they are written, and says which schemas lie inside which.
    """

    schema: object
    place: Place
    path: Path = ()
    is_negated: bool = False
    is_silent: bool = False
    """Whether it stands under a negation, so that it evaluates no member in the sense of `unevaluated*`."""

    @property
    def key(self) -> tuple[object, ...]:
        return id(self.schema), self.is_negated, self.place.key

    def applied(self, schema: object, path: Path, *steps: str | int) -> Part:
        """A schema below, of the same value, that must hold or fail like this one."""
        place = self.place.applied(*steps)
        return Part(schema, place, self.path + path, self.is_negated, self.is_silent)

    def in_place(self) -> Part:
        """The same part, with its place inside its schema, which may have an $id."""
        inside = self.place.entered(self.schema) if isinstance(self.schema, dict) else self.place
        return self if inside is self.place else replace(self, place=inside)

    def optional(self) -> Part:
        """The same part, if a value may do without it."""
        place = self.place.optional()
        if place is self.place:
            return self
        # dataclasses.replace takes longer than all else here, and large schemas have very many parts.
        return Part(self.schema, place, self.path, self.is_negated, self.is_silent)

    def negated(self) -> Part:
        return replace(self, is_negated=not self.is_negated, is_silent=True)

    def made(self, name: object, schema: Schema) -> Part:
        """A schema written by the parser that must hold here; the same object for the same name below the same schema."""
        kept = self.place.shared.made.setdefault((id(self.schema), name), schema)
        return Part(kept, self.place, self.path, is_silent=self.is_silent)


Option = tuple[Part, ...]


def optional(parts: Iterable[Part]) -> Option:
    """The same parts, if a value may do without what they speak of."""
    return tuple(part.optional() for part in parts)


def followed(part: Part, word: str, path: Path) -> Part | tuple[str, ...] | None:
    """The target of a reference as a part; past the last recursion only its types, or None if it names none."""
    value, inside = part.place.follow(word, part.schema[word])  # type: ignore[index]
    if inside is not None:
        return Part(value, inside, part.path + path, part.is_negated, part.is_silent)
    named = value.get("type") if isinstance(value, dict) and not part.is_negated else None
    if named is None or not is_type(named):
        return None
    return tuple(named) if isinstance(named, list) else (named,)
