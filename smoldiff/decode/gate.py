"""The last gate: the written answer parsed and validated, by the caller's own schema, before anybody sees it."""

import json
from typing import Any

from smoldiff.decode.result import ToolCall
from smoldiff.errors import InvalidCall
from smoldiff.scaffold.answer import CallStyle
from smoldiff.schema.source import Source, Tool
from smoldiff.schema.validation import decoder, first_error

_PLAIN, _EXACT = decoder(is_exact=False), decoder(is_exact=True)


def read_value(text: str, source: Source) -> ToolCall:
    """The value of an answer under a bare schema. Raises InvalidCall, UnsupportedSchema."""
    written = text.strip()
    value, length = _parse_front(_PLAIN, written, text)
    if written[length:].strip():
        raise InvalidCall("", f"text behind the value: {written[length:][:80]!r}", text)
    schema = source.judging_schema
    _validate(written, {} if schema is None else schema, "", text)
    return ToolCall(None, value, text)


def read_calls(text: str, source: Source, style: CallStyle) -> tuple[ToolCall, ...]:
    """The calls of an answer, all of them valid; whitespace around their frames is free.

    Raises InvalidCall, UnsupportedSchema.
    """
    begin, end, between = style.begin.strip(), style.end.strip(), style.between.strip()
    calls = []
    rest = text.strip()
    while rest and rest.startswith(begin):
        rest = rest.removeprefix(begin).lstrip()
        body, length = _parse_front(_PLAIN, rest, text)
        calls.append(_call(body, rest[:length], source, style, text))
        rest = rest[length:].lstrip()
        if not rest.startswith(end):
            raise InvalidCall("", f"the call does not end in {style.end!r}", text)
        rest = rest.removeprefix(end).lstrip().removeprefix(between).lstrip()
    if rest:
        raise InvalidCall("", f"text behind the last call: {rest[:80]!r}", text)
    return tuple(calls)


def _call(body: Any, body_text: str, source: Source, style: CallStyle, text: str) -> ToolCall:
    tool = _called(body, source, style)
    if tool is None:
        raise InvalidCall("", f"no call of a known tool: {body_text[:80]!r}", text)
    if style.arguments_key not in body:
        raise InvalidCall("", f"the call has no {style.arguments_key!r}", text)
    arguments_text = _arguments_text(body_text, style, text)
    _validate(arguments_text, tool.judging_parameters, tool.pointer, text)
    return ToolCall(tool.name, body[style.arguments_key], arguments_text)


def _called(body: Any, source: Source, style: CallStyle) -> Tool | None:
    name = body.get(style.name_key) if isinstance(body, dict) else None
    return next((tool for tool in source.tools if tool.name == name), None)


def _arguments_text(body_text: str, style: CallStyle, text: str) -> str:
    key = json.dumps(style.arguments_key)
    start = body_text.index(":", body_text.index(key) + len(key)) + 1
    written = body_text[start:].lstrip()
    return written[: _parse_front(_PLAIN, written, text)[1]]


def _parse_front(reader: json.JSONDecoder, text: str, whole: str) -> tuple[Any, int]:
    try:
        return reader.raw_decode(text)
    except json.JSONDecodeError as problem:
        raise InvalidCall("", f"not JSON: {problem}", whole) from None
    except ValueError as problem:
        raise InvalidCall("", str(problem), whole) from None
    except RecursionError:
        raise InvalidCall("", "nested too deeply to be read", whole) from None


def _validate(written: str, schema: Any, at: str, text: str) -> None:
    value, _ = _parse_front(_EXACT, written, text)
    fault = first_error(value, schema, at=at)
    if fault is not None:
        raise InvalidCall(fault.pointer, fault.problem, text)
