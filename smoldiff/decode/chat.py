"""Messages -> prompt tokens, and how a base writes its calls: both read from its own chat template."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from jinja2.exceptions import TemplateError as JinjaError

from smoldiff.errors import MissingChatTemplate, RequestError
from smoldiff.scaffold.answer import CallStyle
from smoldiff.schema.source import Tool
from smoldiff.template.vocabulary import Vocabulary

Message = Mapping[str, Any]

log = logging.getLogger(__name__)


def read_messages(messages: str | Sequence[Message] | None) -> list[dict[str, Any]]:
    """Messages in OpenAI's form; a plain string is one user message. Raises RequestError."""
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    if not messages:
        raise RequestError(
            "messages is empty; give at least one, e.g. [{'role': 'user', 'content': '...'}]"
        )
    for i, message in enumerate(messages):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise RequestError(
                f"messages[{i}]: expected a dict with a 'role', got {type(message).__name__}"
            )
        if not (message.get("content") or message.get("tool_calls")):
            raise RequestError(
                f"messages[{i}] ({message['role']}): neither 'content' nor 'tool_calls'"
            )
    return [{"content": "", **message} for message in messages]


def render_prompt(
    tokenizer: Any,
    messages: Sequence[Message],
    tools: Sequence[Tool],
    template_options: Mapping[str, Any] | None = None,
) -> list[int]:
    """Prompt token ids up to where the assistant writes. Raises MissingChatTemplate, RequestError."""
    template = tokenizer.chat_template
    if not template:
        raise MissingChatTemplate(
            f"the tokenizer {tokenizer.name_or_path or type(tokenizer).__name__} has no chat template; "
            "set tokenizer.chat_template, or use the instruction-tuned version of the model"
        )
    options = {
        "enable_thinking": False,
        **tool_arguments(str(template), tools),
        **(template_options or {}),
    }
    try:
        ids = tokenizer.apply_chat_template(
            list(messages), add_generation_prompt=True, tokenize=True, return_dict=False, **options
        )
    except (JinjaError, TypeError, KeyError) as problem:
        raise RequestError(f"the chat template refused the messages: {problem}") from problem
    return [int(i) for i in ids]


def tool_arguments(template: str, tools: Sequence[Tool]) -> dict[str, Any]:
    """Tools as this chat template takes them: SmolLM3's reads `xml_tools`, the others `tools` in OpenAI's form."""
    if not tools:
        return {}
    flat = [
        {"name": t.name, "description": t.description, "parameters": t.parameters} for t in tools
    ]
    if "xml_tools" in template and "tools" not in template.replace("xml_tools", "").replace(
        "python_tools", ""
    ):
        return {"xml_tools": flat}
    return {"tools": [{"type": "function", "function": function} for function in flat]}


PROBE_PARAMETERS = {"type": "object", "properties": {"k": {"type": "string"}}}
PROBE_TOOL = Tool("probe_a", "A probe.", PROBE_PARAMETERS, {}, "")


def detect_style(tokenizer: Any, vocabulary: Vocabulary) -> CallStyle:
    """How this base writes calls: its chat template renders probe calls, and their frame is read off.

    A template that renders no calls (SmolLM3's), or in a form of its own, gives the Hermes form, which SmolLM3's
    instructions ask for.
    """
    found = (_probe(tokenizer, names) for names in ("ab", "a")) if tokenizer.chat_template else ()
    style = next((style for style in found if style is not None), CallStyle())
    frame = style.begin + style.end + style.between
    return replace(style, special=tuple(t for t in vocabulary.added if t in frame))


def _probe(tokenizer: Any, names: str) -> CallStyle | None:
    """The frame that the template puts around calls of probe_a (and probe_b), or None."""
    calls = [
        {
            "id": f"call0000{n}",
            "type": "function",
            "function": {"name": f"probe_{n}", "arguments": {"k": "v"}},
        }
        for n in names
    ]
    try:
        plain = _render(tokenizer, {"role": "assistant", "content": "PROBE-TEXT"})
        framed = _render(tokenizer, {"role": "assistant", "content": "", "tool_calls": calls})
    except (JinjaError, TypeError, KeyError) as problem:
        log.debug("the chat template renders no calls: %s", problem)
        return None
    head, _, tail = plain.rpartition("PROBE-TEXT")
    if not framed.startswith(head) or not framed.endswith(tail):
        return None
    return _read_frame(framed[len(head) : len(framed) - len(tail)], len(names))


def _render(tokenizer: Any, answer: Message) -> str:
    messages = [{"role": "user", "content": "PROBE"}, answer]
    options = tool_arguments(str(tokenizer.chat_template), [PROBE_TOOL])
    text = tokenizer.apply_chat_template(messages, tokenize=False, enable_thinking=False, **options)
    return str(text)


def _read_frame(answer: str, num_calls: int) -> CallStyle | None:
    """begin {call} end, or begin {call} end between begin {call} end"""
    decoder = json.JSONDecoder()
    first = answer.find("{")
    try:
        call, stop = decoder.raw_decode(answer, first)
        second = answer.find("{", stop) if num_calls > 1 else first
        _, last = decoder.raw_decode(answer, second)
    except ValueError:
        return None
    if list(call.values()) != ["probe_a", {"k": "v"}]:
        return None
    begin, middle, end = answer[:first], answer[stop:second], answer[last:]
    name_key, arguments_key = call
    if num_calls == 1:
        return CallStyle(begin, end, "", name_key, arguments_key)
    if not middle.startswith(end) or not middle.endswith(begin):
        return None
    between = middle[len(end) : len(middle) - len(begin)]
    return CallStyle(begin, end, between, name_key, arguments_key)
