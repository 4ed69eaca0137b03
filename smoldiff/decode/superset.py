"""Weaker and weaker schemas, for a grammar engine that refuses the whole one.

Each allows whatever the one before it allows, as the engine reads them: leniently, so that only words which bind where
they stand count, and dropping one of those allows more. What is dropped is left to the last gate.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, TypeGuard

Refuses = Callable[[Any], bool]
"""Whether the engine refuses a schema."""

_BY_NAME = ("properties", "patternProperties", "$defs", "definitions")
_LISTED = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
_SINGLE = ("items", "additionalProperties", "additionalItems")
_BESIDE_REF = frozenset({"$ref", "$defs", "definitions", "$schema", "$id", "id", "$anchor"})
_OTHER_KEYS = ("patternProperties", "additionalProperties")
_BOUNDS = (
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "required",
)
_PLAIN_WORDS = ("type", "enum", "const", "required", *_BY_NAME[:1], *_LISTED[1:], *_SINGLE)
_DEPTHS = (8, 4, 2, 1, 0)
NUM_PRECISE = 2
"""How many of the weaker schemas only lose what the engine misreads: where it still finds no value, there is none."""
MAX_PROPERTIES = 4000
"""Most properties of an object that the engine is given: it recurses over them, and 30,000 overflow its stack."""


def weaker(schema: Any, refuses: Refuses) -> Iterator[Any]:
    """Weaker schemas, the strongest first; the last one says the type at most."""
    for change in (
        _without_crowd,
        _with_lone_ref,
        partial(_with_readable_patterns, refuses=refuses),
        partial(_without, words=_OTHER_KEYS),
        partial(_without, words=_BOUNDS),
        partial(_without, words=("allOf",)),
    ):
        schema = _rewritten(schema, change)
        yield schema
    for depth in _DEPTHS:
        yield _cut(schema, depth)


Schema = Mapping[str, Any]


def _rewritten(schema: Any, change: Callable[[Schema], Schema]) -> Any:
    """The schema with every part of it changed, from the inside out."""
    return (
        change(_inside(schema, partial(_rewritten, change=change)))
        if _is_object(schema)
        else schema
    )


def _inside(schema: Schema, change: Callable[[Any], Any]) -> Schema:
    """The schema with `change` made to each schema directly inside it."""
    result = dict(schema)
    for word, value in schema.items():
        if word in _BY_NAME and _is_object(value):
            result[word] = {name: change(part) for name, part in value.items()}
        elif word in _LISTED and isinstance(value, list):
            result[word] = [change(part) for part in value]
        elif word in _SINGLE:
            result[word] = change(value)
    return result


def is_crowded(schema: Any) -> bool:
    """Whether an object in it has more properties than the engine can stand."""
    todo = [schema]
    while todo:
        value = todo.pop()
        if _is_object(value):
            named = value.get("properties")
            if _is_object(named) and len(named) > MAX_PROPERTIES:
                return True
            todo += value.values()
        elif isinstance(value, list):
            todo += [part for part in value if isinstance(part, (Mapping, list))]
    return False


def _without_crowd(schema: Schema) -> Schema:
    if len(schema.get("properties", ())) <= MAX_PROPERTIES:
        return schema
    return _without(schema, words=("properties", "required", *_OTHER_KEYS))


def _with_lone_ref(schema: Schema) -> Schema:
    """A reference without the words beside it. Up to draft 7 they say nothing anyway."""
    return {w: v for w, v in schema.items() if w in _BESIDE_REF} if "$ref" in schema else schema


def _with_readable_patterns(schema: Schema, refuses: Refuses) -> Schema:
    patterns = [schema["pattern"]] if "pattern" in schema else []
    if any(refuses({"type": "string", "pattern": pattern}) for pattern in patterns):
        schema = _without(schema, words=("pattern",))
    if any(refuses({"type": "string", "pattern": p}) for p in schema.get("patternProperties", ())):
        schema = _without(schema, words=_OTHER_KEYS)
    return schema


def _without(schema: Schema, words: tuple[str, ...]) -> Schema:
    return {word: value for word, value in schema.items() if word not in words}


def _cut(schema: Any, depth: int) -> Any:
    """What a schema says in plain words, down to a depth; a reference says nothing."""
    if not _is_object(schema) or "$ref" in schema:
        return {} if _is_object(schema) else schema
    if depth == 0:
        return {"type": schema["type"]} if "type" in schema else {}
    plain = {word: schema[word] for word in _PLAIN_WORDS if word in schema}
    return _inside(plain, partial(_cut, depth=depth - 1))


def _is_object(value: Any) -> TypeGuard[Schema]:
    return isinstance(value, Mapping)
