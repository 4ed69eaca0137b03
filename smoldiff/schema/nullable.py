"""OpenAPI's `nullable: true`, rewritten to JSON Schema, so that scaffold, grammar and last gate all agree on null."""

from __future__ import annotations

from typing import Any

from smoldiff.schema.keywords import DATA_WORDS, NAMED_WORDS

_MAX_DEPTH = 200  # deeper schemas are refused by the parser; here they stay as they are


def with_null(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with `"type": T, "nullable": true` as `"type": [T, "null"]`; a copy only where it differs."""
    rewritten: dict[str, Any] = _rewrite(schema, 0)
    return dict(rewritten)


def _rewrite(value: Any, depth: int, is_named: bool = False) -> Any:
    """`is_named`: the value maps names to schemas."""
    if depth > _MAX_DEPTH:
        return value
    if isinstance(value, list):
        items = [_rewrite(item, depth + 1) for item in value]
        return value if all(a is b for a, b in zip(items, value, strict=True)) else items
    if not isinstance(value, dict):
        return value
    parts = {
        key: _rewrite(part, depth + 1, not is_named and key in NAMED_WORDS)
        if is_named or key not in DATA_WORDS
        else part
        for key, part in value.items()
    }
    if not is_named and value.get("nullable") is True and isinstance(value.get("type"), str):
        return _nullable(parts)
    return value if all(parts[key] is value[key] for key in value) else parts


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    names = [schema["type"], "null"] if schema["type"] != "null" else ["null"]
    rest = {key: part for key, part in schema.items() if key != "nullable"}
    if isinstance(schema.get("enum"), list) and None not in schema["enum"]:
        rest["enum"] = [*schema["enum"], None]
    return {**rest, "type": names}
