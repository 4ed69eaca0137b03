"""Where the parser stands in a schema, and how far references may still be followed from there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from smoldiff.errors import UnresolvableRef
from smoldiff.schema.nodes import Node
from smoldiff.schema.pointers import child
from smoldiff.schema.refs import Document

MAX_NODE_DEPTH = (
    48  # deeper parts get no template; each level costs the compiler a few Python frames
)
MAX_RECURSIONS = 3  # how often references that contain themselves are expanded on one path
MAX_STEPS = 20_000  # schemas looked at in one document; what comes after gets no template


@dataclass(slots=True)
class Shared:
    """What all places of one document share: the document, the nodes of its references, what was left unread."""

    document: Document
    nodes: dict[tuple[str, int], Node] = field(default_factory=dict)
    num_steps: int = 0
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
    containing: frozenset[str] = frozenset()

    @classmethod
    def top(cls, schema: object, at: str) -> Place:
        return cls(Shared(Document(schema, at)), at)

    def is_beyond_limits(self) -> bool:
        """Whether this part gets no template because of its depth or of all that was read before; counts one step."""
        self.shared.num_steps += 1
        return self.depth > MAX_NODE_DEPTH or self.shared.num_steps > MAX_STEPS

    def down(self, *steps: str | int) -> Place:
        """The place of a part that every value here has."""
        pointer = child(self.pointer, *steps)
        return Place(self.shared, pointer, self.depth + 1, self.num_recursions, self.containing)

    def optional(self) -> Place:
        """The same place, if a value may do without the part here."""
        return Place(self.shared, self.pointer, self.depth, self.num_recursions)

    def after(self, num_recursions: int) -> Place:
        """The same place, one level further in, with this many recursions spent."""
        return Place(self.shared, self.pointer, self.depth + 1, num_recursions, self.containing)

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
        pointer = document.pointer + target
        return value, Place(
            self.shared, pointer, self.depth + 1, num_recursions, self.containing | {target}
        )

    def remember(self, parse: Callable[[], Node]) -> Node:
        """The node of the target here, parsed once per recursion depth: nested references else grow exponentially."""
        key = (self.pointer, self.num_recursions)
        if key not in self.shared.nodes:
            self.shared.nodes[key] = parse()
        return self.shared.nodes[key]
