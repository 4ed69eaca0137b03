"""Local references: where a $ref points, and which targets contain themselves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from smoldiff.errors import UnresolvableRef
from smoldiff.schema.pointers import child, steps

_DATA_WORDS = frozenset({"enum", "const", "default", "examples", "example"})


@dataclass(slots=True)
class Document:
    """One schema document with its references. The dicts are caches; nothing else changes."""

    root: object
    pointer: str
    _is_recursive: dict[str, bool] = field(default_factory=dict)

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
        seen: set[str] = set()
        todo = [start]
        while todo:
            for ref in set(_refs(todo.pop())) - seen:
                seen.add(ref)
                try:
                    target, value = self.resolve(ref, at)
                except UnresolvableRef:
                    continue  # reported where it is read, if it ever is
                if target == goal:
                    return True
                todo.append(value)
        return False

    def _fragment(self, ref: str, at: str) -> str:
        base, _, fragment = ref.partition("#")
        own = self.root.get("$id", self.root.get("id", "")) if isinstance(self.root, dict) else ""
        if base and base != str(own).partition("#")[0]:
            raise UnresolvableRef(
                at,
                f"$ref {ref!r} leaves this document, and nothing is ever fetched; copy it into $defs",
            )
        return fragment

    def _anchor(self, name: str, at: str) -> str:
        for pointer, schema in _objects(self.root):
            if name in (schema.get("$anchor"), schema.get("$dynamicAnchor")) or "#" + name in (
                schema.get("$id"),
                schema.get("id"),
            ):
                return pointer
        raise UnresolvableRef(at, f"no part of this document has the anchor {name!r}")


def _step(value: object, step: str, ref: str, at: str) -> object:
    if isinstance(value, dict) and step in value:
        return value[step]
    if isinstance(value, list) and step.isdecimal() and int(step) < len(value):
        return value[int(step)]
    raise UnresolvableRef(at, f"$ref {ref!r} points to nothing: there is no {step!r}")


def _refs(value: object) -> Iterator[str]:
    for _, schema in _objects(value):
        ref = schema.get("$ref")
        if isinstance(ref, str):
            yield ref


def _objects(value: object) -> Iterator[tuple[str, dict[str, object]]]:
    """Every JSON object inside, with its pointer; without recursion, and not inside enum, const, default or examples."""
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
