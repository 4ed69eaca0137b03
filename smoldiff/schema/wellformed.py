"""Whether the parts of a schema that were never looked at are well formed, too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from smoldiff.errors import InvalidSchema
from smoldiff.schema.keywords import KINDS, NAMED_WORDS, check_words, is_schema, show
from smoldiff.schema.pointers import child

_SINGLE = (
    "not",
    "if",
    "then",
    "else",
    "additionalProperties",
    "unevaluatedProperties",
    "propertyNames",
    "items",
    "additionalItems",
    "unevaluatedItems",
    "contains",
)
_LISTED = ("allOf", "anyOf", "oneOf", "prefixItems", "items")

Link = tuple[Any, tuple[str | int, ...]]
"""The way to a schema: the link of the one around it and the steps from there; None for the whole."""


def check_schemas(schema: object, at: str) -> None:
    """Raise InvalidSchema where a schema, here or anywhere inside, has a word of the wrong kind. Needs no recursion."""
    todo: list[tuple[Link | None, object]] = [(None, schema)]
    while todo:
        link, value = todo.pop()
        if isinstance(value, dict):
            if not _is_well_formed(value):
                check_words(value, _pointer(link, at))
            todo += [((link, steps), part) for steps, part in _parts(value)]
        elif not isinstance(value, bool):
            raise InvalidSchema(
                _pointer(link, at), f"a schema must be an object or a boolean, not {show(value)}"
            )


def _is_well_formed(schema: dict[str, Any]) -> bool:
    return all(KINDS[word][0](schema[word]) for word in schema if word in KINDS)


def _pointer(link: Link | None, at: str) -> str:
    steps: list[str | int] = []
    while link is not None:
        link, last = link
        steps = [*last, *steps]
    return child(at, *steps)


def _parts(schema: dict[str, Any]) -> Iterator[tuple[tuple[str | int, ...], object]]:
    for word, value in schema.items():
        if isinstance(value, dict) and word in NAMED_WORDS:
            for name, part in value.items():
                if word != "dependencies" or is_schema(part):
                    yield (word, name), part
        elif isinstance(value, list) and word in _LISTED:
            for idx, part in enumerate(value):
                yield (word, idx), part
        elif word in _SINGLE:
            yield (word,), value
