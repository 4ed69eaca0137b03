"""Where the parser stands in a schema, and how far references may still be followed from there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from smoldiff.errors import UnresolvableRef
from smoldiff.schema.nodes import Node
from smoldiff.schema.pointers import child
from smoldiff.schema.refs import Document

MAX_NODE_DEPTH = (
    48  # deeper parts get no template; each level costs the compiler a few Python frames
)
MAX_RECURSIONS = 3  # how often a reference that contains itself is expanded on one path


@dataclass(slots=True)
class Shared:
    """What all places of one document share: the document, the nodes of its references, what was left unread."""

    document: Document
    nodes: dict[tuple[str, int], Node] = field(default_factory=dict)
    has_unread: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """A point of the parse.

    `containing` holds the references that every value here lies within or is: meeting one of them again means that
    no finite value exists.
    """

    shared: Shared
    pointer: str
    depth: int = 0
    num_recursions: int = 0
    target: str = ""
    containing: frozenset[str] = frozenset()

    @classmethod
    def top(cls, schema: object, at: str) -> Place:
        return cls(Shared(Document(schema, at)), at)

    @property
    def is_too_deep(self) -> bool:
        return self.depth > MAX_NODE_DEPTH

    def down(self, *steps: str | int) -> Place:
        """The place of a part that every value here has."""
        return replace(self, pointer=child(self.pointer, *steps), depth=self.depth + 1)

    def optional(self) -> Place:
        """The same place, if a value may do without the part here."""
        return replace(self, containing=frozenset())

    def after(self, num_recursions: int) -> Place:
        """The same place, one level further in, with this many recursions spent."""
        return replace(self, depth=self.depth + 1, num_recursions=num_recursions)

    def follow(self, ref: str) -> tuple[object, Place | None]:
        """A reference's target and its place; no place once a recursion has been expanded often enough."""
        at = child(self.pointer, "$ref")
        document = self.shared.document
        target, value = document.resolve(ref, at)
        if target in self.containing:
            raise UnresolvableRef(
                at, f"$ref {ref!r} leads back to itself, so every value would contain itself"
            )
        num_recursions = self.num_recursions + document.is_recursive(ref, at)
        if num_recursions > MAX_RECURSIONS:
            return value, None
        return value, replace(
            self,
            pointer=document.pointer + target,
            depth=self.depth + 1,
            num_recursions=num_recursions,
            target=target,
            containing=self.containing | {target},
        )

    def remember(self, parse: Callable[[], Node]) -> Node:
        """The target's node, parsed once per recursion depth: nested references would else grow exponentially."""
        key = (self.target, self.num_recursions)
        if key not in self.shared.nodes:
            self.shared.nodes[key] = parse()
        return self.shared.nodes[key]
