"""A schema as typed nodes, in normal form: every choice is a union, every conjunction one node."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from smoldiff.errors import UnsatisfiableSchema, UnsupportedSchema
from smoldiff.schema import scalars
from smoldiff.schema.arrays import build_array
from smoldiff.schema.conjunction import Conjunction, Split
from smoldiff.schema.dialect import check_nesting
from smoldiff.schema.judge import is_possible
from smoldiff.schema.keywords import HONOURED, KIND_WORDS, LEFT_TO_GRAMMAR, REF_WORDS, check_words
from smoldiff.schema.limits import DEFAULT_LIMITS, Limits
from smoldiff.schema.nodes import ALL_TYPES, Array, Boolean, Const, Node, Object, Opaque, Union
from smoldiff.schema.objects import build_object
from smoldiff.schema.part import Option, Part, followed, optional
from smoldiff.schema.place import NO_VALUE, EndlessRef, Place
from smoldiff.schema.values import identity
from smoldiff.schema.wellformed import check_schemas

_CONSTRAINING = HONOURED | LEFT_TO_GRAMMAR
NoValue = UnsatisfiableSchema | EndlessRef


def parse_schema(schema: object, at: str = "", limits: Limits = DEFAULT_LIMITS) -> Node:
    """The node of a whole schema document that stands at the JSON pointer `at` of what the caller gave.

    Raises InvalidSchema, UnresolvableRef, UnsatisfiableSchema, or UnsupportedSchema for absurd nesting.
    """
    check_nesting(schema, at, limits.max_nesting)
    place = Place.top(schema, at, limits)
    try:
        node = node_of((Part(schema, place),))
        if place.shared.has_unread:
            check_schemas(schema, at)
    except RecursionError:
        raise UnsupportedSchema(at, "nested too deeply; move inner parts to $defs") from None
    return node


def node_of(parts: Sequence[Part]) -> Node:
    """The node of all that satisfies these parts at once. Raises UnsatisfiableSchema where nothing does."""
    shared = parts[0].place.shared
    if shared.is_spent:
        shared.has_unread = True
        return Opaque(parts[0].place.pointer, is_free=False)
    if len(parts) == 1:
        target = _behind_refs(parts[0])
        if not isinstance(target, Part):
            return target
        parts = (target,)
    key = tuple(part.key for part in parts)
    node = shared.nodes.get(key)
    if node is None:
        try:
            conjunction = Conjunction(parts[0].place.pointer)
            conjunction.add(parts)
            node = _finished(conjunction)
        except UnsatisfiableSchema as error:
            node = error
        shared.nodes[key] = node
    if isinstance(node, UnsatisfiableSchema):
        raise node.with_traceback(None)
    return node


def _behind_refs(part: Part) -> Part | Opaque:
    """The part behind references that stand alone, so that all references to one schema share its node."""
    while isinstance(part.schema, dict) and not part.is_negated:
        words = part.schema.keys() & _CONSTRAINING
        if "$ref" in words and part.place.shared.document.ignores_siblings:
            words = {"$ref"}
        if len(words) != 1 or words.isdisjoint(REF_WORDS):
            break
        check_words(part.schema, part.place.pointer)
        pointer = part.place.pointer
        target = followed(part.in_place(), words.pop(), ())
        if not isinstance(target, Part):
            return Opaque(pointer, _json_types(target or ALL_TYPES), is_free=False)
        part = target
    return part


def _finished(conjunction: Conjunction) -> Node:
    if conjunction.values is not None:
        return _fixed(conjunction)
    shared = conjunction.parts[0].place.shared
    while conjunction.splits:
        split = conjunction.splits.pop(0)
        num_options = len(split.options)
        num_ways = conjunction.num_ways * num_options
        is_first = conjunction.num_ways == 1 and num_options <= shared.limits.max_branches
        if is_first or num_ways <= shared.limits.max_alternatives:
            return _alternatives(conjunction, split, num_ways)
        conjunction.is_wide = shared.has_unread = True
    return _of_kinds(conjunction)


def _alternatives(conjunction: Conjunction, split: Split, num_ways: int) -> Node:
    """The union of all ways to go on. A value may do without any of them, and so without what they contain."""
    is_alone = conjunction.is_empty
    conjunction.make_optional()
    branches: list[Node] = []
    last_error: NoValue | None = None
    for option in map(optional, split.options):
        try:
            if is_alone and option:
                branches.append(node_of(option))
                continue
            inner = conjunction.copy(_pointer(option, conjunction), num_ways)
            inner.add(option)
            branches.append(_finished(inner))
        except NO_VALUE as error:
            last_error = error
    if not branches:
        assert last_error is not None
        raise last_error
    return union(conjunction.pointer, branches)


def _pointer(option: Option, conjunction: Conjunction) -> str:
    """Where a branch was read; what a negation leaves has no place of its own."""
    return conjunction.pointer if not option or option[0].is_silent else option[0].place.pointer


def union(pointer: str, branches: Iterable[Node]) -> Node:
    """One node for several: unions inside unions flattened, no node twice, and what has no template last."""
    flat: list[Node] = []
    for branch in branches:
        flat += branch.branches if isinstance(branch, Union) else [branch]
    flat = list({_same(branch): branch for branch in flat}.values())
    opaque = [branch for branch in flat if isinstance(branch, Opaque)]
    flat = [*(branch for branch in flat if not isinstance(branch, Opaque)), *_joined(opaque)]
    return flat[0] if len(flat) == 1 else Union(pointer, tuple(flat))


def _same(node: Node) -> object:
    """Equal for nodes that are evidently the same; containers are compared by identity, since they may be huge."""
    return id(node) if isinstance(node, Array | Object | Union) else node


def _joined(branches: list[Opaque]) -> list[Node]:
    """At most one branch of any JSON, and one more of types about which more is known."""
    joined: list[Node] = []
    free: tuple[str, ...] = ()
    for is_free in (True, False):
        those = [branch for branch in branches if branch.is_free is is_free]
        names = {name for branch in those for name in branch.types}
        types = tuple(name for name in ALL_TYPES if name in names and name not in free)
        if types:
            joined.append(
                those[0] if types == those[0].types else Opaque(those[0].pointer, types, is_free)
            )
        free = types
    return joined


def _fixed(conjunction: Conjunction) -> Node:
    assert conjunction.values is not None
    excluded = {identity(value) for value in conjunction.excluded_values}

    def is_allowed(value: object) -> bool:
        return identity(value) not in excluded and all(
            is_possible(value, part) for part in conjunction.parts
        )

    return conjunction.values.node(conjunction.pointer, is_allowed)


def _of_kinds(conjunction: Conjunction) -> Node:
    """One branch for each type that is left."""
    if conjunction.is_wide and not conjunction.facts and not conjunction.excluded_patterns:
        return Opaque(conjunction.pointer, _types_left(conjunction), is_free=False)
    if conjunction.types is None:
        return _of_any_kind(conjunction)
    names = [name for name in conjunction.types if not _is_excluded(name, conjunction)]
    if not names:
        raise UnsatisfiableSchema(
            conjunction.pointer, f"no value is of type {' or '.join(conjunction.types)} here"
        )
    if len(names) > 1:
        conjunction.make_optional()
    branches, error = _built(conjunction, names)
    if not branches:
        assert error is not None
        raise error
    return branches[0] if len(branches) == 1 else union(conjunction.pointer, branches)


def _built(conjunction: Conjunction, names: Iterable[str]) -> tuple[list[Node], NoValue | None]:
    branches: list[Node] = []
    last_error: NoValue | None = None
    for name in names:
        try:
            branches.append(_BUILDERS[name](conjunction))
        except NO_VALUE as error:
            last_error = error
    return branches, last_error


def _of_any_kind(conjunction: Conjunction) -> Node:
    """Without a type, a value of another type passes too: the likely kinds first, then anything of the others."""
    conjunction.make_optional()
    likely = [
        kind
        for kind, words in KIND_WORDS.items()
        if any(not words.isdisjoint(fact.schema) for fact in conjunction.facts)
    ]
    shown = {type_name(value) for value in conjunction.excluded_values}
    likely += [name for name in ("string", "boolean", "null") if name in shown - set(likely)]
    branches, error = _built(
        conjunction, [name for name in likely if not _is_excluded(name, conjunction)]
    )
    rest = tuple(
        name for name in ALL_TYPES if name not in likely and name not in conjunction.excluded_types
    )
    if rest:
        is_free = not conjunction.is_wide and shown.isdisjoint(rest)
        branches.append(Opaque(conjunction.pointer, rest, is_free))
    if not branches:
        raise error or UnsatisfiableSchema(conjunction.pointer, "no type of value is left")
    return union(conjunction.pointer, branches)


def type_name(value: object) -> str:
    """The JSON type of a value, "number" for integers too."""
    match value:
        case bool():
            return "boolean"
        case None:
            return "null"
        case str():
            return "string"
        case int() | float():
            return "number"
        case dict():
            return "object"
        case _:
            return "array"


def _is_excluded(name: str, conjunction: Conjunction) -> bool:
    return name in conjunction.excluded_types or (
        name == "integer" and "number" in conjunction.excluded_types
    )


def _types_left(conjunction: Conjunction) -> tuple[str, ...]:
    types = _json_types(conjunction.types or ALL_TYPES)
    left = tuple(name for name in types if name not in conjunction.excluded_types)
    if not left:
        raise UnsatisfiableSchema(conjunction.pointer, "no type of value is left")
    return left


def _json_types(names: Iterable[str]) -> tuple[str, ...]:
    present = {"number" if name == "integer" else name for name in names}
    return tuple(name for name in ALL_TYPES if name in present)


def _boolean(conjunction: Conjunction) -> Node:
    excluded = [value for value in conjunction.excluded_values if isinstance(value, bool)]
    left = [value for value in (True, False) if value not in excluded]
    if not left:
        raise UnsatisfiableSchema(conjunction.pointer, "neither true nor false is left")
    if len(left) == 2:
        return Boolean(conjunction.pointer)
    return Const(conjunction.pointer, "true" if left[0] else "false")


def _null(conjunction: Conjunction) -> Node:
    if None in conjunction.excluded_values:
        raise UnsatisfiableSchema(conjunction.pointer, "null is excluded")
    return Const(conjunction.pointer, "null")


_BUILDERS: dict[str, Callable[[Conjunction], Node]] = {
    "object": lambda conjunction: build_object(conjunction, node_of),
    "array": lambda conjunction: build_array(conjunction, node_of),
    "string": scalars.build_string,
    "integer": scalars.build_integer,
    "number": scalars.build_number,
    "boolean": _boolean,
    "null": _null,
}
