"""NousResearch/hermes-function-calling-v1 (Apache-2.0; huggingface.co/datasets/NousResearch/hermes-function-calling-v1).

A row has `conversations`, a list of {from: system|human|gpt|tool, value}, and in most configurations `tools`, JSON text.
The system turn lists the tools in OpenAI's form between <tools> and </tools>. A gpt turn calls with
<tool_call>{"name": ..., "arguments": {...}}</tool_call>, once a call, often written as a Python dict; a tool turn answers
in <tool_response>. The system turn is this format's own instruction, so it is left out: the chat template writes ours.
The json_mode configurations have no tools and give no row.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from smoldiff_training.data.adapters.conversation import Turn, rows_of
from smoldiff_training.data.adapters.raw import (
    UnusableRow,
    call_of,
    list_of,
    mapping_of,
    parsed,
    text_of,
)
from smoldiff_training.data.adapters.tools import tools_of
from smoldiff_training.data.rows import Json, Row

ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "tool": "tool"}  # fmt: skip
TOOLS = re.compile(r"<tools>(.*?)</tools>", re.DOTALL)
CALL = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)
RESPONSE = re.compile(r"</?tool_response>")


def read(raw: Mapping[str, Any]) -> list[Row]:
    """The rows of one conversation. Raises UnusableRow."""
    said = [
        mapping_of(turn, f"conversations[{i}]")
        for i, turn in enumerate(list_of(raw, "conversations"))
    ]
    tools = tools_in(raw, said)
    turns = [turn_of(turn) for turn in said if turn.get("from") != "system"]
    return rows_of("hermes", tools, turns)


def tools_in(raw: Mapping[str, Any], said: list[Mapping[str, Any]]) -> list[Json]:
    """The tools of the column, else those that the system turn lists; the last pair of tags, as prose may name them."""
    if raw.get("tools"):
        return tools_of(list_of(raw, "tools"))
    for turn in said:
        if turn.get("from") == "system":
            listed = [text for text in TOOLS.findall(text_of(turn, "value")) if text.strip()]
            return tools_of(tool_list(listed[-1])) if listed else []
    return []


def tool_list(text: str) -> list[Any]:
    """The tools between the tags: one JSON list, or one tool a line."""
    text = text.strip()
    if text.startswith("["):
        value = parsed(text, "<tools>")
        return value if isinstance(value, list) else [value]
    return [parsed(line, "<tools>") for line in text.splitlines() if line.strip()]


def turn_of(raw: Mapping[str, Any]) -> Turn:
    role, value = ROLES.get(str(raw.get("from"))), text_of(raw, "value")
    if role is None:
        raise UnusableRow(f"conversations: unknown speaker {raw.get('from')!r}")
    if role == "tool":
        return Turn(role, RESPONSE.sub("", value).strip())
    if role == "user":
        return Turn(role, value)
    calls = [call_of(text.strip(), "<tool_call>") for text in CALL.findall(value)]
    return Turn(role, CALL.sub("", value).strip(), calls)
