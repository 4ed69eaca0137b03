"""The last gate: the written answer parsed and validated before anybody sees it."""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from jsonschema import FormatChecker
from jsonschema.exceptions import best_match
from jsonschema.protocols import Validator

from smoldiff.decode.result import ToolCall
from smoldiff.errors import InvalidCall
from smoldiff.scaffold.answer import CallStyle
from smoldiff.schema.dialect import validator_class
from smoldiff.schema.source import Source


def read_value(text: str, source: Source) -> ToolCall:
    """The value of an answer under a bare schema. Raises InvalidCall."""
    value = _parse(text, text)
    _validate(value, {} if source.schema is None else source.schema, text)
    return ToolCall(None, value, text)


def read_calls(text: str, source: Source, style: CallStyle) -> tuple[ToolCall, ...]:
    """The calls of an answer, all of them valid. Raises InvalidCall."""
    by_name = {tool.name: tool.parameters for tool in source.tools}
    calls = []
    rest = text
    while rest.startswith(style.begin):
        rest = rest[len(style.begin) :]
        body, length = _parse_front(rest, text)
        calls.append(_call(body, rest[:length], by_name, style, text))
        if not rest[length:].startswith(style.end):
            raise InvalidCall("", f"the call does not end in {style.end!r}", text)
        rest = rest[length + len(style.end) :]
        rest = rest.removeprefix(style.between)
    if rest.strip():
        raise InvalidCall("", f"text behind the last call: {rest[:80]!r}", text)
    return tuple(calls)


def _call(
    body: Any, body_text: str, by_name: Mapping[str, Any], style: CallStyle, text: str
) -> ToolCall:
    if not isinstance(body, dict) or body.get(style.name_key) not in by_name:
        raise InvalidCall("", f"no call of a known tool: {body_text[:80]!r}", text)
    name, arguments = body[style.name_key], body[style.arguments_key]
    _validate(arguments, by_name[name], text)
    key = body_text.index(json.dumps(style.arguments_key))
    start = body_text.index(":", key + len(json.dumps(style.arguments_key))) + 1
    return ToolCall(name, arguments, body_text[start:].rstrip().removesuffix("}").strip())


def _parse_front(text: str, whole: str) -> tuple[Any, int]:
    try:
        value, length = json.JSONDecoder(parse_constant=_refuse_constant).raw_decode(text)
    except ValueError as problem:
        raise InvalidCall("", f"not JSON: {problem}", whole) from None
    return value, length


def _parse(text: str, whole: str) -> Any:
    value, length = _parse_front(text, whole)
    if text[length:].strip():
        raise InvalidCall("", f"text behind the value: {text[length:][:80]!r}", whole)
    return value


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _validate(value: Any, schema: Any, text: str) -> None:
    error = best_match(_validator(json.dumps(schema)).iter_errors(value))
    if error is not None:
        pointer = "".join(
            "/" + str(p).replace("~", "~0").replace("/", "~1") for p in error.absolute_path
        )
        raise InvalidCall(pointer, error.message, text)


@lru_cache(maxsize=256)
def _validator(schema_text: str) -> Validator:
    schema = json.loads(schema_text)
    return validator_class(schema)(schema, format_checker=FormatChecker())
