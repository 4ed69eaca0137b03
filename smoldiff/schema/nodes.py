"""The typed form of a schema: what each value may be, with every $ref, allOf and type list resolved.

Every node's `pointer` says where in the schema it was read. A `$ref` used twice is one shared node, so a tree of
nodes may be a graph without cycles; recursion is cut to `Opaque` by the parser.

Nodes may allow more than the schema does, never less than all of it: the last gate judges every answer.
"""

from __future__ import annotations

from dataclasses import dataclass

from smoldiff.schema.needs import Needs


@dataclass(frozen=True, slots=True)
class Const:
    """Exactly one value, as JSON text."""

    pointer: str
    text: str


@dataclass(frozen=True, slots=True)
class Enum:
    """One of at least two values, as JSON texts in schema order."""

    pointer: str
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class String:
    """Any string within these limits; lengths count Unicode characters."""

    pointer: str
    min_length: int = 0
    max_length: int | None = None
    patterns: tuple[str, ...] = ()
    """Each matches somewhere in the string (ECMA 262)."""
    formats: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    """Patterns that match nowhere in the string."""


@dataclass(frozen=True, slots=True)
class Integer:
    """A whole number; both bounds are inclusive."""

    pointer: str
    minimum: int | None = None
    maximum: int | None = None
    multiple_of: int | float | None = None


@dataclass(frozen=True, slots=True)
class Number:
    """Any number; exclusive bounds stand beside the inclusive ones."""

    pointer: str
    minimum: int | float | None = None
    maximum: int | float | None = None
    exclusive_minimum: int | float | None = None
    exclusive_maximum: int | float | None = None
    multiple_of: int | float | None = None
    is_fractional: bool = False
    """Whether whole numbers are excluded."""


@dataclass(frozen=True, slots=True)
class Boolean:
    """`true` or `false`."""

    pointer: str


@dataclass(frozen=True, slots=True)
class Array:
    """`prefix` items by position, then `items`; None there means that nothing may follow the prefix.

    Each of `contained` is the node of one item behind the prefix, wherever it stands.
    """

    pointer: str
    prefix: tuple[Node, ...]
    items: Node | None
    min_items: int
    max_items: int | None
    is_unique: bool = False
    contained: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True)
class Property:
    """One named member of an object."""

    name: str
    node: Node
    is_required: bool


@dataclass(frozen=True, slots=True)
class Others:
    """A kind of members that have no name of their own: `keys` says which keys they may have."""

    keys: String
    node: Node


@dataclass(frozen=True, slots=True)
class Object:
    """Properties in writing order, then members of `others` with any other keys; there none, the object is closed."""

    pointer: str
    properties: tuple[Property, ...]
    others: tuple[Others, ...] = ()
    min_properties: int = 0
    max_properties: int | None = None
    forbidden: tuple[str, ...] = ()
    """Keys that no member may have, although `others` would allow them."""
    needs: Needs = ()


@dataclass(frozen=True, slots=True)
class Union:
    """A value of at least one branch; at least two branches."""

    pointer: str
    branches: tuple[Node, ...]


ALL_TYPES = ("object", "array", "string", "number", "boolean", "null")


@dataclass(frozen=True, slots=True)
class Opaque:
    """A part without a template: JSON of these types, of which the grammar engine knows more where not `is_free`."""

    pointer: str
    types: tuple[str, ...] = ALL_TYPES
    is_free: bool = True
    """Whether any JSON value of these types will do."""


Node = Const | Enum | String | Integer | Number | Boolean | Array | Object | Union | Opaque
