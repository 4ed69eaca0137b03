"""The typed form of a schema: what each value may be, with every $ref, allOf and type list resolved.

Every node's `pointer` says where in the schema it was read. A `$ref` used twice is one shared node, so a tree of
nodes may be a graph without cycles; recursion is cut to `Opaque` by the parser.
"""

from __future__ import annotations

from dataclasses import dataclass


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
    pattern: str | None = None
    format: str | None = None


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


@dataclass(frozen=True, slots=True)
class Boolean:
    """`true` or `false`."""

    pointer: str


@dataclass(frozen=True, slots=True)
class Array:
    """`prefix` items by position, then `items`; None there means that nothing may follow the prefix."""

    pointer: str
    prefix: tuple[Node, ...]
    items: Node | None
    min_items: int
    max_items: int | None
    is_unique: bool


@dataclass(frozen=True, slots=True)
class Property:
    """One named member of an object."""

    name: str
    node: Node
    is_required: bool


@dataclass(frozen=True, slots=True)
class Object:
    """Properties in writing order; `additional` is what other keys may hold, None if there may be none."""

    pointer: str
    properties: tuple[Property, ...]
    additional: Node | None


@dataclass(frozen=True, slots=True)
class Union:
    """A value of at least one branch; at least two branches."""

    pointer: str
    branches: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Opaque:
    """A part without a template: any JSON value here, and the grammar engine says which."""

    pointer: str


Node = Const | Enum | String | Integer | Number | Boolean | Array | Object | Union | Opaque
