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
    if messages is not None and not isinstance(messages, Sequence):
        raise RequestError(f"messages={messages!r}: expected a list of dicts, or one string")
    if not messages:
        raise RequestError(
            "messages is empty; give at least one, e.g. [{'role': 'user', 'content': '...'}]"
        )
    read: list[dict[str, Any]] = []
    for i, message in enumerate(messages):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise RequestError(
                f"messages[{i}]: expected a dict with a 'role', got {type(message).__name__}"
            )
        is_empty = not (message.get("content") or message.get("tool_calls"))
        if is_empty and message["role"] != "tool":  # a tool may return nothing
            raise RequestError(
                f"messages[{i}] ({message['role']}): neither 'content' nor 'tool_calls'"
            )
        read.append({"content": "", **message})
    return read


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
        **tool_arguments(tokenizer, tools),
        **(template_options or {}),
    }
    try:
        ids = tokenizer.apply_chat_template(
            list(messages), add_generation_prompt=True, tokenize=True, return_dict=False, **options
        )
    except (JinjaError, TypeError, KeyError) as problem:
        raise RequestError(f"the chat template refused the messages: {problem}") from problem
    return [int(i) for i in ids]


def tool_arguments(tokenizer: Any, tools: Sequence[Tool]) -> dict[str, Any]:
    """Tools, as the caller gave them, under the name by which this chat template shows them.

    SmolLM3's template reads `xml_tools`, the others `tools` in OpenAI's form.
    """
    if not tools:
        return {}
    functions = [_function(tool) for tool in tools]
    if _tools_name(tokenizer) == "xml_tools":
        return {"xml_tools": functions}
    return {"tools": [{"type": "function", "function": function} for function in functions]}


def _function(tool: Tool) -> dict[str, Any]:
    body = tool.raw.get("function", tool.raw)
    given = {k: v for k, v in body.items() if k not in ("type", "input_schema", "parameters")}
    parameters = body.get("parameters", body.get("input_schema"))
    return {**given, "parameters": tool.parameters if parameters is None else parameters}


PROBE_PARAMETERS = {"type": "object", "properties": {"k": {"type": "string"}}}
PROBE = {"name": "probe_a", "description": "A probe.", "parameters": PROBE_PARAMETERS}
PROBE_TOOLS = {"tools": [{"type": "function", "function": PROBE}], "xml_tools": [PROBE]}
_TOOLS_NAMES: dict[str, str] = {}


def _tools_name(tokenizer: Any) -> str:
    """The argument by which the chat template shows tools, found by rendering a probe. Cached by template."""
    template = str(tokenizer.chat_template)
    if template not in _TOOLS_NAMES:
        shown = [name for name in PROBE_TOOLS if _shows(tokenizer, name)]
        if not shown:
            log.warning(
                "the chat template shows no tools to the model; describe them in the messages"
            )
        _TOOLS_NAMES[template] = shown[0] if shown else "tools"
    return _TOOLS_NAMES[template]


def _shows(tokenizer: Any, name: str) -> bool:
    text = _render(tokenizer, [{"role": "user", "content": "PROBE"}], **{name: PROBE_TOOLS[name]})
    return text is not None and "probe_a" in text


_STYLES: dict[tuple[str, str], CallStyle] = {}


def detect_style(tokenizer: Any, vocabulary: Vocabulary) -> CallStyle:
    """How this base writes calls: its chat template renders probe calls, and their frame is read off.

    A template that renders no calls (SmolLM3's), or in a form of its own, gives the Hermes form, which SmolLM3's
    instructions ask for. Cached by tokenizer and template.
    """
    key = (vocabulary.content_hash, str(tokenizer.chat_template))
    if key not in _STYLES:
        found = (
            (_probe(tokenizer, names) for names in ("ab", "a")) if tokenizer.chat_template else ()
        )
        style = next((style for style in found if style is not None), CallStyle())
        frame = style.begin + style.end + style.between
        _STYLES[key] = replace(style, special=tuple(t for t in vocabulary.added if t in frame))
    return _STYLES[key]


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
    user = {"role": "user", "content": "PROBE"}
    tools = {name: value for name, value in PROBE_TOOLS.items() if name == _tools_name(tokenizer)}
    plain = _render(tokenizer, [user, {"role": "assistant", "content": "PROBE-TEXT"}], **tools)
    framed = _render(
        tokenizer, [user, {"role": "assistant", "content": "", "tool_calls": calls}], **tools
    )
    if plain is None or framed is None:
        return None
    head, _, tail = plain.rpartition("PROBE-TEXT")
    if not framed.startswith(head) or not framed.endswith(tail):
        return None
    return _read_frame(framed[len(head) : len(framed) - len(tail)], len(names))


def _render(tokenizer: Any, messages: Sequence[Message], **options: Any) -> str | None:
    """The messages through the chat template; None where it refuses them."""
    try:
        text = tokenizer.apply_chat_template(
            list(messages), tokenize=False, enable_thinking=False, **options
        )
    except (JinjaError, TypeError, KeyError) as problem:
        log.debug("the chat template refuses a probe: %s", problem)
        return None
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
        return CallStyle(begin, end, "", name_key, arguments_key, can_repeat=False)
    if not middle.startswith(end) or not middle.endswith(begin):
        return None
    between = middle[len(end) : len(middle) - len(begin)]
    return CallStyle(begin, end, between, name_key, arguments_key)
