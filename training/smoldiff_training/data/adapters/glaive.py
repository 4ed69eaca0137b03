"""glaiveai/glaive-function-calling-v2 (Apache-2.0; huggingface.co/datasets/glaiveai/glaive-function-calling-v2).

A row has two texts. `system` is "SYSTEM: You are a helpful assistant with access to the following functions. Use them if
required -" and the functions as JSON objects one after the other, or says that there are none. `chat` is turns that start
with "USER:", "ASSISTANT:" or "FUNCTION RESPONSE:"; an assistant turn ends with <|endoftext|>, and calls with
<functioncall> {"name": "f", "arguments": '{"a": 1}'}: the arguments are JSON in single quotes, so the whole is not JSON.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from smoldiff_training.data.adapters.conversation import Turn, rows_of
from smoldiff_training.data.adapters.raw import DECODER, UnusableRow, call_of, shown, text_of
from smoldiff_training.data.adapters.tools import tools_of
from smoldiff_training.data.rows import Json, Row

ROLES = {"USER": "user", "ASSISTANT": "assistant", "FUNCTION RESPONSE": "tool"}
SPEAKER = re.compile(r"(?:^|\n)\s*(USER|ASSISTANT|FUNCTION RESPONSE):[ \t]*")
CALL = "<functioncall>"
END = "<|endoftext|>"
QUOTED = re.compile(r"""\{\s*"name":\s*"([^"]*)",\s*"arguments":\s*'(.*)'\s*\}""", re.DOTALL)


def read(raw: Mapping[str, Any]) -> list[Row]:
    """The rows of one conversation; none where nothing is called. Raises UnusableRow."""
    tools = tools_of(objects_in(text_of(raw, "system")), "system")
    _, *parts = SPEAKER.split(text_of(raw, "chat"))
    if not parts:
        raise UnusableRow(f"chat: no turn of USER: or ASSISTANT: in {shown(raw['chat'])}")
    turns = [turn_of(*turn) for turn in zip(parts[::2], parts[1::2], strict=True)]
    return rows_of("glaive", tools, turns)


def objects_in(text: str) -> list[Any]:
    """The JSON objects in a text, one after the other."""
    found = []
    at = text.find("{")
    while at >= 0:
        try:
            value, end = DECODER.raw_decode(text, at)
        except (ValueError, RecursionError) as problem:
            raise UnusableRow(f"system: no JSON at character {at}: {shown(text[at:])}") from problem
        found.append(value)
        at = text.find("{", end)
    return found


def turn_of(speaker: str, text: str) -> Turn:
    text = text.replace(END, "").strip()
    words, *calls = text.split(CALL)
    if ROLES[speaker] != "assistant" or not calls:
        return Turn(ROLES[speaker], text)
    return Turn("assistant", words.strip(), [quoted_call(call.strip()) for call in calls])


def quoted_call(text: str) -> Json:
    match = QUOTED.match(text)
    if match is None:
        return call_of(text, CALL)
    name, arguments = match.groups()
    return call_of({"name": name, "arguments": arguments.replace(r"\'", "'")}, CALL)
