"""Where the parser stands in a schema, and how far references may still be followed from there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from smoldiff.errors import UnresolvableRef, UnsatisfiableSchema
from smoldiff.schema.limits import Limits
from smoldiff.schema.nodes import Node
from smoldiff.schema.pointers import child
from smoldiff.schema.refs import Document

Targets = frozenset[str]
_NONE: Targets = frozenset()
_ROOT: Targets = frozenset({""})


class EndlessRef(UnresolvableRef):
    """A reference that leads back to itself: no value here, which only matters where there is no other way."""


NO_VALUE = (UnsatisfiableSchema, EndlessRef)
"""Errors that say that nothing can stand somewhere; whoever can do without it catches them."""


@dataclass(slots=True)
class Shared:
    """What all places of one document share: the document, the nodes found so far, what was left unread.

    `made` keeps the schemas that the parser writes itself, so that one question is asked with one object.
    """

    document: Document
    limits: Limits
    nodes: dict[Any, Node | UnsatisfiableSchema] = field(default_factory=dict)
    made: dict[Any, Any] = field(default_factory=dict)
    num_steps: int = 0
    num_judged: int = 0
    has_unread: bool = False

    @property
    def is_spent(self) -> bool:
        """Whether so much was read that the rest is left out."""
        return self.num_steps > self.limits.max_steps

    @property
    def max_recursions(self) -> int:
        """How often recursive references may be expanded on one path by now."""
        is_deep = self.num_steps <= self.limits.max_deep_steps
        return self.limits.max_recursions if is_deep else min(1, self.limits.max_recursions)


@dataclass(frozen=True, slots=True)
class Place:
    """A point of the parse.

    `base` is the innermost schema with an $id around it, as a pointer inside the document; `scope` are all that were
    entered on the way here. `here` holds the recursive references followed for the value itself, `containing` those
    that every value here lies within or is: meeting one of them again means that no finite value exists.
    """

    shared: Shared
    pointer: str
    depth: int = 0
    num_recursions: int = 0
    base: str = ""
    scope: tuple[str, ...] = ("",)
    here: Targets = _NONE
    containing: Targets = _NONE

    @classmethod
    def top(cls, schema: object, at: str, limits: Limits) -> Place:
        return cls(Shared(Document(schema, at), limits), at, here=_ROOT, containing=_ROOT)

    @property
    def key(self) -> tuple[object, ...]:
        """What the node of a schema here depends on, beside the schema."""
        return self.pointer, self.num_recursions, self.scope, self.here

    def is_beyond_limits(self) -> bool:
        """Whether this part is left out because of its depth or of all that was read before; counts one step."""
        shared = self.shared
        shared.num_steps += 1
        return self.depth > shared.limits.max_depth or shared.num_steps > shared.limits.max_steps

    def down(self, *steps: str | int) -> Place:
        """The place of a part that every value here has."""
        return self._below(child(self.pointer, *steps), _NONE)

    def applied(self, *steps: str | int) -> Place:
        """The place of a schema that speaks of the same value."""
        return self._below(child(self.pointer, *steps), self.here)

    def _below(self, pointer: str, here: Targets) -> Place:
        return Place(
            self.shared,
            pointer,
            self.depth + 1,
            self.num_recursions,
            self.base,
            self.scope,
            here,
            self.containing,
        )

    def optional(self) -> Place:
        """The same place, if a value may do without the part here."""
        if not self.containing:
            return self
        return Place(
            self.shared,
            self.pointer,
            self.depth,
            self.num_recursions,
            self.base,
            self.scope,
            self.here,
        )

    def entered(self, schema: dict[str, Any]) -> Place:
        """The place inside a schema, which may have an $id of its own."""
        if "$id" not in schema and "id" not in schema:
            return self
        base = self.shared.document.base_of(schema, self.base)
        return self if base == self.base else self._moved(self.pointer, base)

    def _moved(self, pointer: str, base: str) -> Place:
        scope = self.scope if base in self.scope else (*self.scope, base)
        return Place(
            self.shared,
            pointer,
            self.depth,
            self.num_recursions,
            base,
            scope,
            self.here,
            self.containing,
        )

    def follow(self, word: str, ref: str) -> tuple[object, Place | None]:
        """A reference's target and its place; no place once a recursion has been expanded often enough."""
        at = child(self.pointer, word)
        document = self.shared.document
        target, value, base = document.resolve(ref, at, self.base)
        if word != "$ref":
            target, value, base = document.outermost(word, ref, (target, value, base), self.scope)
        if target in self.here or target in self.containing:
            raise EndlessRef(
                at, f"$ref {ref!r} leads back to itself, so every value would contain itself"
            )
        is_recursive = word != "$ref" or document.is_recursive(target, value, base)
        num_recursions = self.num_recursions + is_recursive
        if num_recursions > self.shared.max_recursions:
            return value, None
        moved = self._moved(document.pointer + target, base)
        here = self.here | {target} if is_recursive else _NONE
        return value, Place(
            self.shared,
            moved.pointer,
            self.depth + 1,
            num_recursions,
            base,
            moved.scope,
            here,
            self.containing | {target},
        )
