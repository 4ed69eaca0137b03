"""Which JSON Schema draft a schema is written in, and how deeply it is nested."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from smoldiff.errors import UnsupportedSchema
from smoldiff.schema.limits import DEFAULT_LIMITS
from smoldiff.schema.refs import objects

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

MAX_NESTING = DEFAULT_LIMITS.max_nesting

_DRAFTS = {
    "json-schema.org/draft-03/schema": "Draft3Validator",
    "json-schema.org/draft-04/schema": "Draft4Validator",
    "json-schema.org/draft-06/schema": "Draft6Validator",
    "json-schema.org/draft-07/schema": "Draft7Validator",
    "json-schema.org/draft/2019-09/schema": "Draft201909Validator",
    "json-schema.org/draft/2020-12/schema": "Draft202012Validator",
}

# Of a schema that does not name its draft.
_OLDEST_FIRST = ("Draft4Validator", "Draft7Validator", "Draft202012Validator")


def validator_class(schema: object) -> type[Validator]:
    """The jsonschema class for a schema: by `$schema`, else the newest draft in which its words can be written so."""
    import jsonschema

    named = schema.get("$schema") if isinstance(schema, dict) else None
    known = _DRAFTS.get(named.partition("://")[2].rstrip("#")) if isinstance(named, str) else None
    if known is None:
        forms = {_newest(one) for one in objects(schema)}
        known = next((name for name in _OLDEST_FIRST if name in forms), _OLDEST_FIRST[-1])
    found: type[Validator] = getattr(jsonschema, known)
    return found


def _newest(schema: dict[str, object]) -> str:
    """The newest draft in which one schema object may be written: all that tells the drafts apart by form."""
    if any(isinstance(schema.get(word), bool) for word in ("exclusiveMinimum", "exclusiveMaximum")):
        return "Draft4Validator"
    identifier = schema.get("$id")
    is_anchor = isinstance(identifier, str) and "#" in identifier[:-1]
    is_old = is_anchor or isinstance(schema.get("items"), list)
    return "Draft7Validator" if is_old else "Draft202012Validator"


def check_nesting(schema: object, at: str, max_nesting: int = MAX_NESTING) -> None:
    """Raise UnsupportedSchema if the JSON is nested deeper than `max_nesting` levels."""
    level = _containers([schema])
    for _ in range(max_nesting + 1):
        if not level:
            return
        level = _containers(
            part for one in level for part in (one.values() if isinstance(one, dict) else one)
        )
    raise UnsupportedSchema(
        at, f"nested more than {max_nesting} levels deep; move inner parts to $defs"
    )


def _containers(values: Iterable[Any]) -> list[Any]:
    return list({id(value): value for value in values if isinstance(value, dict | list)}.values())
