"""Local references: where a $ref points, and which targets contain themselves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote

from smoldiff.errors import UnresolvableRef
from smoldiff.schema.pointers import child, steps

_DATA_WORDS = frozenset({"enum", "const", "default", "examples", "example"})


@dataclass(slots=True)
class Document:
    """One schema document with its references. The dicts are caches; nothing else changes."""

    root: object
    pointer: str
    _is_recursive: dict[str, bool] = field(default_factory=dict)
    _refs: dict[str, frozenset[str]] = field(default_factory=dict)

    def resolve(self, ref: str, at: str) -> tuple[str, object]:
        """The pointer of a reference's target inside this document, and the target."""
        fragment = self._fragment(ref, at)
        target = fragment if fragment[:1] in ("", "/") else self._anchor(fragment, at)
        value = self.root
        for step in steps(target):
            value = _step(value, step, ref, at)
        return target, value

    def is_recursive(self, ref: str, at: str) -> bool:
        """Whether the target can be reached again from inside itself."""
        target, value = self.resolve(ref, at)
        if target not in self._is_recursive:
            self._is_recursive[target] = self._reaches(value, target, at)
        return self._is_recursive[target]

    def _reaches(self, start: object, goal: str, at: str) -> bool:
        """Whether a chain of references leads from inside `start` to the target `goal`."""
        seen: set[str] = set()
        todo = [*self._refs_in(goal, start)]
        while todo:
            ref = todo.pop()
            if ref in seen:
                continue
            seen.add(ref)
            try:
                target, value = self.resolve(ref, at)
            except UnresolvableRef:
                continue  # reported where it is read, if it ever is
            if target == goal:
                return True
            todo += self._refs_in(target, value)
        return False

    def _refs_in(self, target: str, value: object) -> frozenset[str]:
        if target not in self._refs:
            refs = (schema.get("$ref") for schema in _objects(value))
            self._refs[target] = frozenset(ref for ref in refs if isinstance(ref, str))
        return self._refs[target]

    def _fragment(self, ref: str, at: str) -> str:
        base, _, fragment = ref.partition("#")
        own = self.root.get("$id", self.root.get("id", "")) if isinstance(self.root, dict) else ""
        if base and base != str(own).partition("#")[0]:
            raise UnresolvableRef(
                at,
                f"$ref {ref!r} leaves this document, and nothing is ever fetched; copy it into $defs",
            )
        return unquote(fragment)

    def _anchor(self, name: str, at: str) -> str:
        for pointer, schema in _located(self.root):
            anchors = (schema.get("$anchor"), schema.get("$dynamicAnchor"))
            if name in anchors or "#" + name in (schema.get("$id"), schema.get("id")):
                return pointer
        raise UnresolvableRef(at, f"no part of this document has the anchor {name!r}")


def _step(value: object, step: str, ref: str, at: str) -> object:
    if isinstance(value, dict) and step in value:
        return value[step]
    if isinstance(value, list) and step.isdecimal() and int(step) < len(value):
        return value[int(step)]
    raise UnresolvableRef(at, f"$ref {ref!r} points to nothing: there is no {step!r}")


def _objects(value: object) -> Iterator[dict[str, object]]:
    """Every JSON object inside, but not those in enum, const, default or examples. Needs no recursion."""
    todo = [value]
    while todo:
        value = todo.pop()
        if isinstance(value, dict):
            yield value
            todo += [part for key, part in value.items() if key not in _DATA_WORDS]
        elif isinstance(value, list):
            todo += value


def _located(value: object) -> Iterator[tuple[str, dict[str, object]]]:
    """The same objects, each with its pointer."""
    todo: list[tuple[str, object]] = [("", value)]
    while todo:
        pointer, value = todo.pop()
        if isinstance(value, dict):
            yield pointer, value
            todo += [
                (child(pointer, key), part) for key, part in value.items() if key not in _DATA_WORDS
            ]
        elif isinstance(value, list):
            todo += [(child(pointer, idx), part) for idx, part in enumerate(value)]
