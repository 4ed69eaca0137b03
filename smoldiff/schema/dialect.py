"""Which JSON Schema draft a schema is written in, and whether it is well formed there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from smoldiff.errors import UnsupportedSchema
from smoldiff.schema.limits import DEFAULT_LIMITS

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
# Tried in this order where a schema does not name its draft.
_UNNAMED = ("Draft202012Validator", "Draft7Validator", "Draft4Validator")


def validator_class(schema: object) -> type[Validator]:
    """The jsonschema class for a schema: by `$schema`, else the newest draft in which it is well formed."""
    classes = _candidates(schema)
    return next((one for one in classes if not any(_errors(one, schema))), classes[0])


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


def _candidates(schema: object) -> list[type[Validator]]:
    import jsonschema

    named = schema.get("$schema") if isinstance(schema, dict) else None
    known = _DRAFTS.get(named.partition("://")[2].rstrip("#")) if isinstance(named, str) else None
    return [getattr(jsonschema, name) for name in (_UNNAMED if known is None else (known,))]


def _errors(draft: type[Validator], schema: Any) -> Any:
    return draft(draft.META_SCHEMA).iter_errors(schema)
