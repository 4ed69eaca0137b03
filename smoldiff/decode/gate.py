"""The last gate: the written answer parsed and validated, by the caller's own schema, before anybody sees it."""

import json
import re
from typing import Any

from smoldiff.decode.result import ToolCall
from smoldiff.errors import InvalidCall
from smoldiff.scaffold.answer import CallStyle
from smoldiff.schema.source import Source, Tool
from smoldiff.schema.validation import decoder, first_error

_PLAIN, _EXACT = decoder(is_exact=False), decoder(is_exact=True)
_SPACE = " \t\n\r"
_PERHAPS_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")


def read_whole(text: str, source: Source, style: CallStyle) -> tuple[ToolCall, ...]:
    """The calls of an answer, or its one value under a bare schema. Raises as `read_calls` and `read_value` do."""
    if source.tools:
        return read_calls(text, source, style)
    return (read_value(text, source),)


def read_value(text: str, source: Source) -> ToolCall:
    """The value of an answer under a bare schema. Raises InvalidCall, UnsupportedSchema."""
    written = text.strip(_SPACE)
    value, end = _parse(_PLAIN, written, 0, text)
    if end < len(written):
        raise InvalidCall("", f"text behind the value: {written[end:][:80]!r}", text)
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
        body, length = _parse(_PLAIN, rest, 0, text)
        calls.append(_call(body, rest[:length], source, style, text))
        rest = rest[length:].lstrip()
        if not rest.startswith(end):
            raise InvalidCall("", f"the call does not end in {style.end!r}", text)
        rest = rest.removeprefix(end).lstrip().removeprefix(between).lstrip()
    if rest:
        raise InvalidCall("", f"text behind the last call: {rest[:80]!r}", text)
    return tuple(calls)


def _call(body: Any, written: str, source: Source, style: CallStyle, text: str) -> ToolCall:
    tool = _called(body, source, style)
    if tool is None:
        raise InvalidCall("", f"no call of a known tool: {written[:80]!r}", text)
    if style.arguments_key not in body:
        raise InvalidCall("", f"the call has no {style.arguments_key!r}", text)
    members = _members(written, text)
    if len(members) > len(dict(members)):
        raise InvalidCall("", f"a key stands twice in the call: {written[:80]!r}", text)
    arguments_text = dict(members)[style.arguments_key]
    _validate(arguments_text, tool.judging_parameters, tool.pointer, text)
    return ToolCall(tool.name, body[style.arguments_key], arguments_text)


def _called(body: Any, source: Source, style: CallStyle) -> Tool | None:
    name = body.get(style.name_key) if isinstance(body, dict) else None
    return next((tool for tool in source.tools if tool.name == name), None)


def _members(written: str, text: str) -> list[tuple[str, str]]:
    """The keys of a well-formed JSON object, and each value as it is written."""
    members = []
    pos = _skip(written, 1)
    while written[pos] != "}":
        key, pos = _parse(_PLAIN, written, pos, text)
        start = _skip(written, _skip(written, pos) + 1)
        _, pos = _parse(_PLAIN, written, start, text)
        members.append((key, written[start:pos]))
        pos = _skip(written, pos)
        if written[pos] == ",":
            pos = _skip(written, pos + 1)
    return members


def _skip(text: str, pos: int) -> int:
    while text[pos] in _SPACE:
        pos += 1
    return pos


def _parse(reader: json.JSONDecoder, written: str, pos: int, text: str) -> tuple[Any, int]:
    """The value that begins at `pos`, and where it ends."""
    try:
        return reader.raw_decode(written, pos)
    except json.JSONDecodeError as problem:
        raise InvalidCall("", f"not JSON: {problem}", text) from None
    except ValueError as problem:
        raise InvalidCall("", str(problem), text) from None
    except RecursionError:
        raise InvalidCall("", "nested too deeply to be read", text) from None


def _validate(written: str, schema: Any, at: str, text: str) -> None:
    value, _ = _parse(_EXACT, written, 0, text)
    if _PERHAPS_SURROGATE.search(written):
        _check_unicode(value, text)
    fault = first_error(value, schema, at=at)
    if fault is not None:
        raise InvalidCall(fault.pointer, fault.problem, text)


def _check_unicode(value: Any, text: str) -> None:
    """Half a surrogate pair is no character: other readers of JSON refuse it, and no UTF-8 can hold it."""
    try:
        json.dumps(value, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError:
        raise InvalidCall("", "half a surrogate pair in a string", text) from None
    except RecursionError:
        raise InvalidCall("", "nested too deeply to be checked", text) from None
