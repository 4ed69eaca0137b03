"""nvidia/When2Call (CC-BY-4.0; github.com/NVIDIA/When2Call and huggingface.co/datasets/nvidia/When2Call).

Three forms, all with `tools`, a list of tools or of their JSON texts, in Python's type words and with `required` beside
the parameters:
- test (mcq, llm_judge): `question`, `correct_answer` (direct, tool_call, request_for_info or cannot_answer), and
  `answers`, a response of each kind; the tool_call one is JSON text. These questions are made from BFCL's: train on
  them, and BFCL measures memory.
- train_sft: `messages`, the last of them the right response.
- train_pref: `messages`, and `chosen_response` (used here) against `rejected_response`.
In the training forms a call is <TOOLCALL>[{"name": ..., "arguments": {...}}]</TOOLCALL>. The other kinds become answers
without calls.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from smoldiff_training.data.adapters.conversation import Turn, answered
from smoldiff_training.data.adapters.raw import UnusableRow, calls_of, list_of, mapping_of, text_of
from smoldiff_training.data.adapters.tools import tools_of
from smoldiff_training.data.rows import Json, Row

CALLS = re.compile(r"<TOOLCALL>(.*?)</TOOLCALL>", re.DOTALL)
KINDS = ("direct", "tool_call", "request_for_info", "cannot_answer")


def read(raw: Mapping[str, Any]) -> list[Row]:
    """The row of one question. Raises UnusableRow."""
    tools = tools_of(list_of(raw, "tools"))
    messages, last = question(raw) if "question" in raw else conversation(raw)
    return [answered("when2call", tools, messages, last)]


def question(raw: Mapping[str, Any]) -> tuple[list[Json], Turn]:
    kind = raw.get("correct_answer")
    if kind not in KINDS:
        raise UnusableRow(f"correct_answer: {kind!r} is not one of {', '.join(KINDS)}")
    text = text_of(mapping_of(raw.get("answers"), "answers"), kind)
    messages = [{"role": "user", "content": text_of(raw, "question")}]
    if kind == "tool_call":
        return messages, Turn("assistant", "", calls_of(text, "answers.tool_call"))
    return messages, Turn("assistant", text)


def conversation(raw: Mapping[str, Any]) -> tuple[list[Json], Turn]:
    said = [message_of(m, f"messages[{i}]") for i, m in enumerate(list_of(raw, "messages"))]
    if raw.get("chosen_response") is not None:
        said.append(message_of(raw["chosen_response"], "chosen_response"))
    if len(said) < 2 or said[-1]["role"] != "assistant":
        raise UnusableRow("messages: no response of the assistant at the end")
    *messages, last = said
    calls = [
        call for text in CALLS.findall(last["content"]) for call in calls_of(text, "<TOOLCALL>")
    ]
    return messages, Turn("assistant", last["content"], calls)


def message_of(value: object, at: str) -> Json:
    raw = mapping_of(value, at)
    if raw.get("role") not in ("system", "user", "assistant"):
        raise UnusableRow(f"{at}.role: unknown role {raw.get('role')!r}")
    return {"role": raw["role"], "content": text_of(raw, "content")}
