"""References inside one document: where each points, and which targets contain themselves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urljoin

from smoldiff.errors import UnresolvableRef
from smoldiff.schema.cycles import mark_cycles
from smoldiff.schema.keywords import DATA_WORDS, NAMED_WORDS, REF_WORDS
from smoldiff.schema.pointers import child, steps

_OLD_DRAFTS = ("draft-03", "draft-04", "draft-06", "draft-07")

Target = tuple[str, object, str]
"""A pointer inside the document, the schema there, and the pointer of the schema whose $id is in force there."""


@dataclass(frozen=True, slots=True)
class Index:
    """Where the names of a document stand. `bases` maps an object's identity to its pointer if it has an $id."""

    uris: dict[str, str]
    pointers: dict[str, str]
    bases: dict[int, str]
    anchors: dict[tuple[str, str], str]
    dynamic_anchors: dict[tuple[str, str], str]
    recursive_anchors: frozenset[str]


@dataclass(slots=True)
class Document:
    """One schema document with its references. The other fields are caches; nothing else changes."""

    root: object
    pointer: str
    _index: Index | None = None
    _has_unevaluated: bool | None = None
    _is_recursive: dict[str, bool] = field(default_factory=dict)
    _met: dict[str, tuple[object, str]] = field(default_factory=dict)
    """By target: its value, and the base that it stands under."""
    _refs: dict[str, frozenset[tuple[str, str]]] = field(default_factory=dict)

    @property
    def ignores_siblings(self) -> bool:
        """Whether the words beside a $ref mean nothing, as in draft 7 and before."""
        return self._is_old(_OLD_DRAFTS)

    @property
    def index(self) -> Index:
        if self._index is None:
            id_word = "id" if self._is_old(_OLD_DRAFTS[:2]) else "$id"
            self._index = _indexed(self.root, id_word, self.ignores_siblings)
        return self._index

    @property
    def has_unevaluated(self) -> bool:
        """Whether it matters anywhere which members and items have been evaluated."""
        if self._has_unevaluated is None:
            words = {"unevaluatedProperties", "unevaluatedItems"}
            self._has_unevaluated = any(
                not words.isdisjoint(schema) for schema in objects(self.root)
            )
        return self._has_unevaluated

    def _is_old(self, drafts: tuple[str, ...]) -> bool:
        named = self.root.get("$schema") if isinstance(self.root, dict) else None
        return isinstance(named, str) and any(draft in named for draft in drafts)

    def base_of(self, schema: dict[str, Any], base: str) -> str:
        """The base in force inside `schema`, of which `base` is the one around it."""
        return base if schema is self.root else self.index.bases.get(id(schema), base)

    def resolve(self, ref: str, at: str, base: str = "") -> Target:
        """Where a reference leads that stands under `base`. Raises UnresolvableRef at the pointer `at`."""
        uri, _, fragment = ref.partition("#")
        start = self._resource(uri, ref, at, base) if uri else base
        fragment = unquote(fragment)
        if fragment[:1] not in ("", "/"):
            start, fragment = "", self._anchor(fragment, at, start)
        try:
            return self._walk(start, fragment, ref, at)
        except UnresolvableRef:
            if not start:
                raise
            return self._walk("", fragment, ref, at)  # a base that was never meant as one

    def outermost(self, word: str, ref: str, target: Target, scope: tuple[str, ...]) -> Target:
        """Where $dynamicRef or $recursiveRef leads: to the first schema of that name on the way here."""
        _, value, base = target
        name = unquote(ref.partition("#")[2])
        for entered in scope:
            pointer = (
                self.index.dynamic_anchors.get((entered, name))
                if word == "$dynamicRef"
                else (entered if entered in self.index.recursive_anchors else None)
            )
            is_dynamic = isinstance(value, dict) and (
                value.get("$dynamicAnchor") == name
                if word == "$dynamicRef"
                else base in self.index.recursive_anchors
            )
            if is_dynamic and pointer is not None:
                return self._walk("", pointer, ref, "")
        return target

    def is_recursive(self, target: str, value: object, base: str) -> bool:
        """Whether the target can be reached again from inside itself."""
        if target not in self._is_recursive:
            self._met[target] = value, base
            mark_cycles(target, self._targets_in, self._is_recursive)
        return self._is_recursive[target]

    def _targets_in(self, target: str) -> Iterator[str]:
        """The targets of the references inside a target."""
        for ref, inner in self._refs_in(target, *self._met[target]):
            try:
                other, value, base = self.resolve(ref, "", inner)
            except UnresolvableRef:
                continue  # reported where it is read, if it ever is
            self._met.setdefault(other, (value, base))
            yield other

    def _refs_in(self, target: str, value: object, base: str) -> frozenset[tuple[str, str]]:
        if target not in self._refs:
            self._refs[target] = frozenset(
                (ref, self.index.bases.get(id(schema), base) if self.has_bases else base)
                for schema in objects(value)
                for word in REF_WORDS & schema.keys()
                if isinstance(ref := schema[word], str)
            )
        return self._refs[target]

    @property
    def has_bases(self) -> bool:
        return self._index is not None and len(self._index.bases) > 1

    def _resource(self, uri: str, ref: str, at: str, base: str) -> str:
        absolute = urljoin(self.index.uris.get(base, ""), uri)
        for name in (absolute, uri):
            if name in self.index.pointers:
                return self.index.pointers[name]
        raise UnresolvableRef(
            at,
            f"$ref {ref!r} leaves this document, and nothing is ever fetched; copy it into $defs",
        )

    def _anchor(self, name: str, at: str, base: str) -> str:
        for start in (base, ""):
            pointer = self.index.anchors.get((start, name))
            if pointer is not None:
                return pointer
        raise UnresolvableRef(at, f"no part of this document has the anchor {name!r}")

    def _walk(self, start: str, fragment: str, ref: str, at: str) -> Target:
        value, base, pointer = self.root, "", ""
        for step in steps(start) + steps(fragment):
            value, pointer = _step(value, step, ref, at), child(pointer, step)
            if isinstance(value, dict) and ("$id" in value or "id" in value):
                base = self.base_of(value, base)
        return start + fragment, value, base


def _step(value: object, step: str, ref: str, at: str) -> object:
    if isinstance(value, dict) and step in value:
        return value[step]
    if isinstance(value, list) and step.isdecimal() and int(step) < len(value):
        return value[int(step)]
    raise UnresolvableRef(at, f"$ref {ref!r} points to nothing: there is no {step!r}")


def objects(value: object) -> Iterator[dict[str, object]]:
    """Every JSON object inside that may be a schema. Needs no recursion."""
    todo = [(value, False)]
    while todo:
        value, is_named = todo.pop()
        if isinstance(value, dict):
            if not is_named:
                yield value
            todo += [(part, names) for _, part, names in _members(value, is_named)]
        elif isinstance(value, list):
            todo += [(part, False) for part in value]


def _members(value: dict[str, Any], is_named: bool) -> Iterator[tuple[str, object, bool]]:
    """The members of an object that are no data, and whether each maps names to schemas, as `value` does if `is_named`."""
    for key, part in value.items():
        if is_named or key not in DATA_WORDS:
            yield key, part, not is_named and key in NAMED_WORDS


def _indexed(root: object, id_word: str, ignores_siblings: bool) -> Index:
    index = Index({"": ""}, {"": ""}, {}, {}, {}, frozenset())
    recursive: set[str] = set()
    todo: list[tuple[str, object, str, bool]] = [("", root, "", False)]
    while todo:
        pointer, value, base, is_named = todo.pop()
        if isinstance(value, dict):
            has_names = not is_named and not (
                ignores_siblings and isinstance(value.get("$ref"), str)
            )
            if has_names:
                base = _add_names(index, value, pointer, base, id_word)
            if has_names and value.get("$recursiveAnchor") is True:
                recursive.add(base)
            todo += [
                (child(pointer, key), part, base, names)
                for key, part, names in _members(value, is_named)
            ]
        elif isinstance(value, list):
            todo += [(child(pointer, idx), part, base, False) for idx, part in enumerate(value)]
    return Index(
        index.uris,
        index.pointers,
        index.bases,
        index.anchors,
        index.dynamic_anchors,
        frozenset(recursive),
    )


def _add_names(index: Index, schema: dict[str, Any], pointer: str, base: str, id_word: str) -> str:
    """Note the names that a schema gives itself; the base inside it."""
    for word in ("$id", "id"):
        name = schema.get(word)
        if not isinstance(name, str):
            continue
        uri, _, fragment = name.partition("#")
        if fragment:
            index.anchors.setdefault((base, fragment), pointer)
        if uri and (word == id_word or not pointer):
            absolute = urljoin(index.uris.get(base, ""), uri)
            index.pointers.setdefault(absolute, pointer)
            index.pointers.setdefault(uri, pointer)
            index.uris[pointer] = absolute
            index.bases[id(schema)] = base = pointer
    for word in ("$anchor", "$dynamicAnchor"):
        name = schema.get(word)
        if isinstance(name, str):
            index.anchors.setdefault((base, name), pointer)
            if word == "$dynamicAnchor":
                index.dynamic_anchors.setdefault((base, name), pointer)
    return base
