"""Requests to a server: those kept beside this file, or rows of a data file."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calls.data import Example

KEPT = Path(__file__).with_name("requests.jsonl")
MAX_TOKENS = 256


def kept_requests() -> list[dict[str, Any]]:
    """Arguments of a chat completion, each with a `name`."""
    return [json.loads(line) for line in KEPT.read_text().splitlines()]


def requests_of(examples: Sequence[Example]) -> list[dict[str, Any]]:
    """Rows of a data file as requests that want a call."""
    return [
        {
            "name": one.id,
            "messages": [*map(openai_message, one.messages)],
            "tools": [{"type": "function", "function": tool} for tool in one.tools],
            "tool_choice": "required",
        }
        for one in examples
    ]


FREE = {"name", "messages"}
"""Of a request that is free to be answered in text."""


def without_schema(request: Mapping[str, Any]) -> dict[str, Any]:
    """The same question, free to be answered in text."""
    return {k: v for k, v in request.items() if k in FREE}


def is_free(request: Mapping[str, Any]) -> bool:
    return request.keys() <= FREE


def openai_message(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message of a data file in the form that an OpenAI server takes."""
    calls = [
        {
            "id": f"call_{i}",
            "type": "function",
            "function": {"name": call["name"], "arguments": json.dumps(call["arguments"])},
        }
        for i, call in enumerate(message.get("tool_calls") or ())
    ]
    extra: dict[str, Any] = {"tool_calls": calls} if calls else {}
    if message["role"] == "tool":
        extra = {"tool_call_id": "call_0"}
    return {**message, "content": message.get("content") or "", **extra}


@dataclass(frozen=True)
class Answer:
    """What a server said to a request."""

    content: str | None
    calls: tuple[tuple[str, str], ...]
    """Names and arguments, the arguments as JSON text."""
    num_tokens: int
    finish_reason: str
    prompt_ids: tuple[int, ...] = ()
    token_ids: tuple[int, ...] = ()
    """Where the request says `return_token_ids`."""


def ask(client: Any, model: str, request: dict[str, Any], **options: Any) -> Answer:
    """Ask an `openai.OpenAI` client; greedy unless `options` say otherwise."""
    arguments = {k: v for k, v in request.items() if k != "name"}
    given = {"temperature": 0, "max_tokens": MAX_TOKENS, **arguments, **options}
    answer = client.chat.completions.create(model=model, **given)
    choice = answer.choices[0]
    calls = tuple(
        (call.function.name, call.function.arguments) for call in choice.message.tool_calls or ()
    )
    return Answer(
        choice.message.content,
        calls,
        answer.usage.completion_tokens,
        choice.finish_reason,
        tuple(getattr(answer, "prompt_token_ids", None) or ()),
        tuple(getattr(choice, "token_ids", None) or ()),
    )


def tools_of(request: dict[str, Any]) -> dict[str, Any]:
    """The schema of each tool's arguments, by name."""
    tools: Sequence[dict[str, Any]] = request.get("tools", ())
    return {t["function"]["name"]: t["function"]["parameters"] for t in tools}
