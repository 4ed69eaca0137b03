"""Which names the members of an object may have: propertyNames as the language of its keys."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from smoldiff.schema.conjunction import Fact
from smoldiff.schema.judge import is_possible
from smoldiff.schema.nodes import Const, Enum, Node, String
from smoldiff.schema.part import Part
from smoldiff.schema.place import NO_VALUE

NodeOf = Callable[[Sequence[Part]], Node]


@dataclass(frozen=True, slots=True)
class KeyNames:
    """All that propertyNames says. `listed` are the only names there are, if `is_finite`."""

    parts: tuple[Part, ...] = ()
    listed: tuple[str, ...] = ()
    is_finite: bool = False
    language: String | None = None

    def allows(self, key: str) -> bool:
        return all(is_possible(key, part) for part in self.parts)

    def keys(self, pointer: str, patterns: tuple[str, ...], excluded: tuple[str, ...]) -> String:
        """The keys that meet some patterns and do not meet others."""
        if self.language is None:
            return String(pointer, patterns=patterns, excluded=excluded)
        return replace(
            self.language,
            patterns=tuple(dict.fromkeys((*self.language.patterns, *patterns))),
            excluded=tuple(dict.fromkeys((*self.language.excluded, *excluded))),
        )


def read_key_names(facts: list[Fact], node_of: NodeOf) -> KeyNames:
    """What all the facts say of names. Without any allowed name, it is finite and lists none."""
    parts = tuple(
        Part(fact.schema["propertyNames"], fact.place.down("propertyNames").optional())
        for fact in facts
        if fact.schema.get("propertyNames", True) is not True
    )
    if not parts:
        return KeyNames()
    try:
        node = node_of((parts[0].made("text", {"type": "string"}), *parts))
    except NO_VALUE:
        return KeyNames(parts, is_finite=True)
    match node:
        case String():
            return KeyNames(parts, language=node)
        case Const(text=text):
            return KeyNames(parts, _names((text,)), is_finite=True)
        case Enum(texts=texts):
            return KeyNames(parts, _names(texts), is_finite=True)
        case _:
            return KeyNames(parts)


def _names(texts: Sequence[str]) -> tuple[str, ...]:
    values: list[Any] = [json.loads(text) for text in texts]
    return tuple(value for value in values if isinstance(value, str))
