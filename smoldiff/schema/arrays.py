"""Arrays: every schema object that speaks of items is one rule, and an item must follow all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations, islice

from smoldiff.errors import UnsatisfiableSchema
from smoldiff.schema.conjunction import Conjunction, Fact
from smoldiff.schema.nodes import Array, Boolean, Const, Enum, Node, Opaque, Union
from smoldiff.schema.part import Part, Schema, optional
from smoldiff.schema.place import NO_VALUE, EndlessRef, Place
from smoldiff.schema.pointers import child
from smoldiff.schema.unevaluated import unevaluated_items

_MAX_PLACEMENTS = 64  # ways to place what an array must contain; the others are not tried
NodeOf = Callable[[Sequence[Part]], Node]


@dataclass(frozen=True, slots=True)
class Rule:
    """What one schema object says of items: by position, then of the rest; None says nothing of it."""

    place: Place
    word: str
    prefix: list[object]
    rest_word: str
    rest: object | None

    def parts(self, idx: int) -> list[Part]:
        """What it says of the item at a position."""
        if idx < len(self.prefix):
            return [Part(self.prefix[idx], self.place.down(self.word, idx))]
        return [] if self.rest is None else [Part(self.rest, self.place.down(self.rest_word))]


@dataclass(frozen=True, slots=True)
class Wanted:
    """`contains`: at least `fewest` items, and at most `most`, satisfy the part."""

    part: Part
    fewest: int
    most: int | None


@dataclass(frozen=True, slots=True)
class _Draft:
    """An array in the making: the parts of each prefix item, of the items behind it, and the counts."""

    conjunction: Conjunction
    node_of: NodeOf
    prefix: tuple[tuple[Part, ...], ...]
    rest: tuple[Part, ...]
    fewest: int
    most: int | None
    is_unique: bool
    contained: tuple[tuple[Part, ...], ...] = ()

    @property
    def pointer(self) -> str:
        return self.conjunction.pointer

    def node(self) -> Array:
        """The array. Where no value fits an item that may be missing, the array ends before it."""
        contained = tuple(self.node_of(parts) for parts in self.contained)
        needed = max(self.fewest, len(self.prefix) + len(contained) if contained else 0)
        prefix: list[Node] = []
        most = self.most
        for idx, parts in enumerate(self.prefix if most is None else self.prefix[:most]):
            try:
                prefix.append(self._item(parts, idx < needed))
            except NO_VALUE:
                if idx < needed:
                    raise
                return self._array(prefix, None, idx, contained)
        items = None
        if most is None or most > len(prefix):
            num_fixed = len(prefix) + len(contained)
            try:
                items = self._item(self.rest, num_fixed < self.fewest)
            except NO_VALUE:
                if num_fixed < self.fewest and not self._is_closed():
                    raise
                items = contained[0] if contained else None  # there is room for no other
                most = num_fixed
        return self._array(prefix, items, most, contained)

    def _is_closed(self) -> bool:
        return any(part.schema is False for part in self.rest)

    def _item(self, parts: tuple[Part, ...], is_needed: bool) -> Node:
        if not parts:
            return Opaque(child(self.pointer, "items"))
        return self.node_of(parts if is_needed else optional(parts))

    def _array(
        self, prefix: list[Node], items: Node | None, most: int | None, contained: tuple[Node, ...]
    ) -> Array:
        if self.is_unique and items is not None and not prefix:
            size = _num_values(items)
            if size is not None:
                size += len(contained)
                most = size if most is None else min(size, most)
        fewest = self.fewest
        needed = max(fewest, len(prefix) + len(contained) if contained else 0)
        if most is not None and needed > most:
            raise UnsatisfiableSchema(
                self.pointer, f"minItems is {needed}, but there can be at most {most} items"
            )
        return Array(self.pointer, tuple(prefix), items, fewest, most, self.is_unique, contained)


def build_array(conjunction: Conjunction, node_of: NodeOf) -> Node:
    """`prefixItems` and `items`, or the older `items` list and `additionalItems`, with what must be contained."""
    facts = [fact for fact in conjunction.ordered_facts if _ARRAY_WORDS & fact.schema.keys()]
    rules = [*map(_rule, facts)]
    if not rules:
        return _Draft(conjunction, node_of, (), (), 0, None, False).node()
    unevaluated = unevaluated_items(facts)
    num_prefix = max(
        [len(rule.prefix) for rule in rules] + [one.start for one in unevaluated], default=0
    )
    prefix = tuple(
        tuple(part for rule in rules for part in rule.parts(idx))
        + tuple(one.part for one in unevaluated if idx >= one.start)
        for idx in range(num_prefix)
    )
    rest = tuple(part for rule in rules for part in rule.parts(num_prefix))
    rest += tuple(one.part for one in unevaluated)
    draft = _Draft(
        conjunction, node_of, prefix, rest, *_counts(facts, num_prefix, rest, conjunction)
    )
    return _with_contained(draft, [one for one in map(_wanted, facts) if one])


_ARRAY_WORDS = frozenset(
    {
        "items",
        "prefixItems",
        "additionalItems",
        "unevaluatedItems",
        "contains",
        "minItems",
        "maxItems",
        "uniqueItems",
    }
)


def _rule(fact: Fact) -> Rule:
    schema, place = fact.schema, fact.place
    items = schema.get("items")
    if "prefixItems" in schema:
        return Rule(place, "prefixItems", schema["prefixItems"], "items", items)
    if isinstance(items, list):
        return Rule(place, "items", items, "additionalItems", schema.get("additionalItems"))
    return Rule(place, "prefixItems", [], "items", items)


def _counts(
    facts: list[Fact], num_prefix: int, rest: tuple[Part, ...], conjunction: Conjunction
) -> tuple[int, int | None, bool]:
    fewest = int(max((fact.schema.get("minItems", 0) for fact in facts), default=0))
    mosts = [int(fact.schema["maxItems"]) for fact in facts if "maxItems" in fact.schema]
    if any(part.schema is False for part in rest):
        mosts.append(num_prefix)
    most = min(mosts, default=None)
    if most is not None and fewest > most:
        raise UnsatisfiableSchema(
            conjunction.pointer, f"minItems is {fewest}, but there can be at most {most} items"
        )
    return fewest, most, any(fact.schema.get("uniqueItems", False) for fact in facts)


def _wanted(fact: Fact) -> Wanted | None:
    schema: Schema = fact.schema
    if "contains" not in schema:
        return None
    fewest = int(schema.get("minContains", 1))
    most = int(schema["maxContains"]) if "maxContains" in schema else None
    if most is not None and fewest > most:
        raise UnsatisfiableSchema(
            fact.place.pointer, f"minContains {fewest} is above maxContains {most}"
        )
    return Wanted(Part(schema["contains"], fact.place.down("contains")), fewest, most)


def _with_contained(draft: _Draft, wanted: list[Wanted]) -> Node:
    """The array with items that satisfy each `contains`, wherever they may stand."""
    if (
        draft.prefix or len(wanted) > 1
    ):  # so there will be several, and a value may do without any of them
        draft, wanted = _optional(draft), [replace(one, part=one.part.optional()) for one in wanted]
    drafts, is_complete = [draft], True
    for one in wanted:
        if isinstance(one.part.schema, bool) or one.part.schema == {}:
            drafts = [_counted(draft, one) for draft in drafts]
            continue
        placed = chain.from_iterable(_placed(draft, one) for draft in drafts)
        drafts = [*islice(placed, _MAX_PLACEMENTS + 1)]
        is_complete &= len(drafts) <= _MAX_PLACEMENTS
        drafts = drafts[:_MAX_PLACEMENTS]
    arrays: list[Node] = []
    last_error: UnsatisfiableSchema | EndlessRef | None = None
    for tried in drafts:
        try:
            arrays.append(tried.node())
        except NO_VALUE as error:
            last_error = error
    if arrays:
        return arrays[0] if len(arrays) == 1 else Union(draft.pointer, tuple(arrays))
    if not is_complete:
        return draft.node()
    raise last_error or UnsatisfiableSchema(draft.pointer, "no item can be the one contained")


def _optional(draft: _Draft) -> _Draft:
    """The same array, if a value may do without its items."""
    return replace(draft, prefix=tuple(map(optional, draft.prefix)), rest=optional(draft.rest))


def _counted(draft: _Draft, wanted: Wanted) -> _Draft:
    """A `contains` that every item satisfies, or none: no more than a count."""
    if wanted.part.schema is False:
        if wanted.fewest:
            raise UnsatisfiableSchema(wanted.part.place.pointer, "no item satisfies false")
        return draft
    most = min((m for m in (draft.most, wanted.most) if m is not None), default=None)
    return replace(draft, fewest=max(draft.fewest, wanted.fewest), most=most)


def _bounded(draft: _Draft, wanted: Wanted) -> _Draft:
    """Where exactly so many items may satisfy `contains`, the others do not."""
    if wanted.most != wanted.fewest:
        return draft
    failing = replace(wanted.part, is_negated=True)
    return replace(
        draft,
        prefix=tuple((*parts, failing) for parts in draft.prefix),
        rest=(*draft.rest, failing),
    )


def _placed(draft: _Draft, wanted: Wanted) -> Iterator[_Draft]:
    """Where the wanted items may stand: behind the prefix, in it, or where another `contains` has placed one."""
    bounded = _bounded(draft, wanted)
    places = range(len(draft.prefix) + len(draft.contained))
    for num_shared in range(min(wanted.fewest, len(places)) + 1):
        for shared in combinations(places, num_shared):
            found = _sharing(bounded, draft.prefix, wanted.part, shared)
            yield _behind(found, draft.rest, wanted, num_shared)


def _sharing(
    draft: _Draft, prefix: tuple[tuple[Part, ...], ...], part: Part, places: tuple[int, ...]
) -> _Draft:
    """The array in which the items at these places, of the prefix and then of the contained ones, satisfy a part too."""
    num_prefix = len(prefix)
    return replace(
        draft,
        prefix=tuple(
            (*prefix[idx], part) if idx in places else parts
            for idx, parts in enumerate(draft.prefix)
        ),
        contained=tuple(
            (*parts, part) if idx in places else parts
            for idx, parts in enumerate(draft.contained, num_prefix)
        ),
        fewest=max([draft.fewest, *(idx + 1 for idx in places if idx < num_prefix)]),
    )


def _behind(draft: _Draft, rest: tuple[Part, ...], wanted: Wanted, num_shared: int) -> _Draft:
    """The array with the other wanted items behind the prefix."""
    num = wanted.fewest - num_shared
    if not num:
        return draft
    if wanted.most != wanted.fewest and any(
        part.schema == wanted.part.schema and not part.is_negated for part in rest
    ):
        num_before = len(draft.prefix) + len(draft.contained)
        return replace(draft, fewest=max(draft.fewest, num_before + num))
    num = min(num, wanted.part.place.shared.limits.max_contained)
    return replace(draft, contained=draft.contained + ((*rest, wanted.part),) * num)


def _num_values(node: Node) -> int | None:
    """How many values a node has, if that is evident."""
    match node:
        case Const():
            return 1
        case Enum(texts=texts):
            return len(texts)
        case Boolean():
            return 2
        case _:
            return None
