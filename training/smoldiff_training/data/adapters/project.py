"""The project's own JSON lines: `source`, `tools`, `messages`, `calls`, and `meta` with `services` and `variant`.

Tools have JSON Schemas, messages are in OpenAI's form with bare calls ({name, arguments}) in `tool_calls`. A row may have
an `answer` in place of calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from smoldiff_training.data.adapters.raw import (
    UnusableRow,
    calls_of,
    list_of,
    mapping_of,
    shown,
    text_of,
)
from smoldiff_training.data.rows import Json, Row, order_call

ROLES = ("system", "user", "assistant", "tool")


def read(raw: Mapping[str, Any]) -> list[Row]:
    """The row, its tools as they stand. Raises UnusableRow."""
    tools = [tool_of(tool, f"tools[{i}]") for i, tool in enumerate(list_of(raw, "tools"))]
    calls = [order_call(call, tools) for call in calls_of(list_of(raw, "calls"), "calls")]
    messages = [message_of(m, f"messages[{i}]") for i, m in enumerate(list_of(raw, "messages"))]
    answer = raw.get("answer") or ""
    if not calls and not (isinstance(answer, str) and answer):
        raise UnusableRow("calls: empty, and there is no `answer` instead")
    meta = mapping_of(raw.get("meta") or {}, "meta")
    services, variant = meta.get("services") or (), meta.get("variant") or 0
    if not isinstance(services, list | tuple) or not isinstance(variant, int):
        raise UnusableRow(f"meta: expected services and a variant, found {shown(dict(meta))}")
    source = raw.get("source")
    name = source if isinstance(source, str) else "smoldiff"
    return [Row(name, tools, messages, calls, answer, tuple(map(str, services)), variant)]


def tool_of(value: object, at: str) -> Json:
    tool = dict(mapping_of(value, at))
    text_of(tool, "name")
    if not isinstance(tool.get("parameters"), dict):
        raise UnusableRow(
            f"{at}.parameters: expected a JSON Schema, found {shown(tool.get('parameters'))}"
        )
    return tool


def message_of(value: object, at: str) -> Json:
    message = dict(mapping_of(value, at))
    if message.get("role") not in ROLES:
        raise UnusableRow(
            f"{at}.role: {shown(message.get('role'))} is not one of {', '.join(ROLES)}"
        )
    if not isinstance(message.get("content"), str | None):
        raise UnusableRow(f"{at}.content: expected a text, found {shown(message['content'])}")
    if message.get("tool_calls"):
        message["tool_calls"] = calls_of(list_of(message, "tool_calls"), f"{at}.tool_calls")
    return message
