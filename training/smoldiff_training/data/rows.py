"""Read rows of the project's JSON lines, with each call's arguments in the order of its schema."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """One conversation and the answer that is right: calls, or plain text where none is needed."""

    source: str
    tools: list[Json]
    messages: list[Json]
    calls: list[Json]
    answer: str = ""  # the assistant's words, used only where `calls` is empty
    services: tuple[str, ...] = ()
    variant: int = 0


def in_schema_order(value: object, schema: object) -> Any:
    """`value` with the keys of each object in the order of the schema's properties; others last."""
    if not isinstance(schema, Mapping):
        return value
    if isinstance(value, dict):
        properties = schema.get("properties")
        if not isinstance(properties, Mapping):
            return value
        known = {k: in_schema_order(value[k], s) for k, s in properties.items() if k in value}
        return known | {k: v for k, v in value.items() if k not in known}
    if isinstance(value, list):
        return [in_schema_order(item, schema.get("items")) for item in value]
    return value


def order_call(call: Json, tools: list[Json]) -> Json:
    for tool in tools:
        if tool["name"] == call["name"]:
            arguments = in_schema_order(call.get("arguments") or {}, tool.get("parameters"))
            return {"name": call["name"], "arguments": arguments}
    return call


def read_json_lines(path: Path) -> Iterator[Json]:
    """Each line of a .jsonl.gz file. Raises FileNotFoundError with the path that was looked at."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such data file; set `data` in the configuration")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def read_rows(path: Path) -> list[Row]:
    rows = []
    for raw in read_json_lines(path):
        tools, meta = raw["tools"], raw.get("meta", {})
        calls = [order_call(call, tools) for call in raw["calls"]]
        rows.append(
            Row(
                raw["source"],
                tools,
                raw["messages"],
                calls,
                services=tuple(meta.get("services", ())),
                variant=meta.get("variant", 0),
            )
        )
    return rows
