"""A tool's arguments are closed: where an object names its properties and is silent about others, there are no others.

JSON Schema reads silence as "anything goes", but a function takes no unknown arguments, and a model that may invent
keys does. A closed schema allows a part of what the open one allows, and never nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from smoldiff.schema.keywords import HONOURED, LEFT_TO_GRAMMAR

_CONSTRAINING = HONOURED | LEFT_TO_GRAMMAR | {"enum", "const"}
_REFS = ("$ref", "$dynamicRef", "$recursiveRef")
_PARTS = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else")
# What these say of a value is said beside the words next to them, so neither side may be closed.
_COMBINING = frozenset(
    {
        *_REFS,
        *_PARTS,
        "dependentSchemas",
        "dependencies",
        "patternProperties",
        "contains",
        "enum",
        "const",
        "extends",
        "disallow",
    }
)
_SPEAKS_OF_OTHER_KEYS = frozenset(
    {
        "additionalProperties",
        "propertyNames",
        "minProperties",
        "dependentRequired",
        "unevaluatedProperties",
    }
)
_KEY_WORDS = frozenset({"required", "type", "minProperties", "maxProperties"})
_DEFINITIONS = ("$defs", "definitions")
_BY_NAME = ("properties", *_DEFINITIONS)
_LISTED = ("anyOf", "oneOf", "prefixItems")
_SINGLE = ("items", "additionalProperties")
MAX_DEPTH = 48  # deeper parts get no template either


def closed(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters with every object closed that stands alone; what parts say together stays as it is.

    A definition is closed only if no combination refers to one.
    """
    if not any(ref for part in _left_open(parameters, MAX_DEPTH) for ref in _refs(part)):
        return dict(_close(parameters, MAX_DEPTH, _BY_NAME))
    if all(ref.startswith(("#/$defs/", "#/definitions/")) for ref in _refs(parameters)):
        return dict(_close(parameters, MAX_DEPTH, ("properties",)))
    return dict(parameters)


def _close(schema: Any, depth: int, by_name: tuple[str, ...]) -> Any:
    if not isinstance(schema, Mapping) or depth == 0 or _is_combined(schema):
        return schema
    result = dict(schema)
    for word, value in schema.items():
        if word in by_name and isinstance(value, Mapping):
            result[word] = {k: _close(v, depth - 1, by_name) for k, v in value.items()}
        elif word in _LISTED and isinstance(value, list):
            result[word] = [_close(part, depth - 1, by_name) for part in value]
        elif word in _SINGLE:
            result[word] = _close(value, depth - 1, by_name)
    if _is_closable(schema):
        result["additionalProperties"] = False
    return result


def _left_open(schema: Any, depth: int) -> Iterator[object]:
    """Every part of the schema that `_close` does not enter."""
    if not isinstance(schema, Mapping) or depth == 0 or _is_combined(schema):
        yield schema
        return
    for word, value in schema.items():
        if word in _BY_NAME and isinstance(value, Mapping):
            parts = list(value.values())
        elif word in _LISTED and isinstance(value, list):
            parts = value
        elif word in _SINGLE:
            parts = [value]
        else:
            yield value
            continue
        for part in parts:
            yield from _left_open(part, depth - 1)


def _is_closable(schema: Mapping[str, Any]) -> bool:
    """Not where `required` names a key that has no property, nor where the schema itself speaks of other keys."""
    named, required = schema.get("properties"), schema.get("required", [])
    if not isinstance(named, Mapping) or not isinstance(required, list):
        return False  # the parser reports what is wrong with them
    is_silent = not (_COMBINING | _SPEAKS_OF_OTHER_KEYS) & schema.keys()
    return is_silent and all(name in list(named) for name in required)


def _is_combined(schema: Mapping[str, Any]) -> bool:
    """Whether two words or parts may speak of what is inside the same object.

    A $ref or a choice alone does not count, nor do parts that only ask for keys. One of a oneOf's parts must hold and
    the others must not, so those parts must differ in type.
    """
    words = schema.keys() & _CONSTRAINING
    if words == {"$ref"} or words <= {"type", "anyOf"}:
        return False
    if words <= {"type", "oneOf"}:
        return not _differ_in_type(schema["oneOf"]) if "oneOf" in words else False
    combining = words & _COMBINING
    return not combining <= set(_PARTS) or not all(
        _asks_for_keys(part) for word in combining for part in _listed(schema[word])
    )


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _asks_for_keys(part: Any) -> bool:
    return isinstance(part, Mapping) and part.keys() & _CONSTRAINING <= _KEY_WORDS


def _differ_in_type(parts: Any) -> bool:
    seen: set[str] = set()
    for part in _listed(parts):
        names = _listed(part.get("type")) if isinstance(part, Mapping) else [None]
        types = {"number" if name == "integer" else name for name in map(str, names)}
        if "None" in types or types & seen:
            return False
        seen |= types
    return True


def _refs(value: object) -> Iterator[str]:
    """Every reference inside; one that is only data is taken for a reference too, which does no harm."""
    todo = [value]
    while todo:
        value = todo.pop()
        if isinstance(value, Mapping):
            yield from (value[word] for word in _REFS if isinstance(value.get(word), str))
            todo += value.values()
        elif isinstance(value, list):
            todo += value
