"""A tool's arguments are closed: where an object names its properties and is silent about others, there are no others.

JSON Schema reads silence as "anything goes", but a function takes no unknown arguments, and a model that may invent
keys does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Closing one part of a combination would forbid the keys of the other parts, so such a schema stays as it is inside.
COMBINING = frozenset(
    {
        "allOf",
        "not",
        "if",
        "dependentSchemas",
        "dependencies",
        "unevaluatedProperties",
        "$dynamicRef",
    }
)
BY_NAME = ("properties", "$defs", "definitions")
LISTED = ("anyOf", "oneOf", "prefixItems")
MAX_DEPTH = 48  # deeper parts get no template either


def closed(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters with every closable object closed; only the outermost where parts are combined."""
    if _combines(parameters, MAX_DEPTH):
        return _close_one(parameters)
    return _close_all(parameters, MAX_DEPTH)


def _close_one(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Not where `required` names a key that has no property, nor where the schema itself speaks of other keys."""
    result = dict(schema)
    named, required = schema.get("properties"), schema.get("required", [])
    if not isinstance(named, Mapping) or not isinstance(required, list):
        return result  # the parser reports what is wrong with them
    is_silent = not {"additionalProperties", "patternProperties"} & schema.keys()
    if is_silent and all(name in list(named) for name in required):
        result["additionalProperties"] = False
    return result


def _close_all(schema: Any, depth: int) -> Any:
    if not isinstance(schema, Mapping) or depth == 0:
        return schema
    result = _close_one(schema)
    for word in BY_NAME:
        if isinstance(result.get(word), Mapping):
            result[word] = {k: _close_all(v, depth - 1) for k, v in result[word].items()}
    for word in LISTED:
        if isinstance(result.get(word), list):
            result[word] = [_close_all(part, depth - 1) for part in result[word]]
    for word in ("items", "additionalProperties"):
        if isinstance(result.get(word), Mapping):
            result[word] = _close_all(result[word], depth - 1)
    return result


def _combines(schema: Any, depth: int) -> bool:
    if depth == 0:
        return True
    if isinstance(schema, list):
        return any(_combines(part, depth - 1) for part in schema)
    if not isinstance(schema, Mapping):
        return False
    return bool(COMBINING & schema.keys()) or any(_combines(v, depth - 1) for v in schema.values())
