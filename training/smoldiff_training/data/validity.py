"""Whether a row's calls are ones that could have been made with its tools."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from smoldiff.errors import SchemaError
from smoldiff.schema.closing import closed
from smoldiff.schema.validation import decoder, first_error
from smoldiff_training.data.rows import Json, Row

EXACT = decoder(is_exact=True)


def calls_fault(row: Row) -> str:
    """What is wrong with the first call that is wrong, in words; "" where every call validates."""
    return next((f for f in (call_fault(call, row.tools) for call in row.calls) if f), "")


def call_fault(call: Json, tools: Sequence[Json]) -> str:
    """A schema is taken as the library takes it: closed, so that a key it does not name is a fault."""
    tool = next((t for t in tools if t["name"] == call["name"]), None)
    if tool is None:
        return f"calls {call['name']!r}, which is none of its tools"
    try:
        schema = closed_schema(json.dumps(tool["parameters"]))
        fault = first_error(EXACT.decode(json.dumps(call["arguments"])), schema)
    except SchemaError as problem:
        return f"{call['name']}: {problem}"
    except (ValueError, TypeError, RecursionError) as problem:
        return f"{call['name']}: its arguments are no JSON: {problem}"
    return f"{call['name']}: arguments{fault.pointer}: {fault.problem}" if fault else ""


@lru_cache(maxsize=4096)
def closed_schema(text: str) -> dict[str, Any]:
    return closed(json.loads(text))
