"""Compiling a schema to a scaffold, with a cache by content."""

from __future__ import annotations

import gc
import json
import marshal
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Lock
from typing import Any, cast

from smoldiff.errors import InvalidSchema, RequestError, UnsupportedSchema
from smoldiff.scaffold.answer import CallStyle, answer_piece
from smoldiff.scaffold.scaffold import Scaffold
from smoldiff.scaffold.style import SPACED, JsonStyle
from smoldiff.schema.dialect import check_nesting
from smoldiff.schema.keywords import show
from smoldiff.schema.limits import DEFAULT_LIMITS, Limits, check_length
from smoldiff.schema.parse import parse_schema
from smoldiff.schema.source import Source, read_source, written_out

MAX_CACHED = 512  # keys; a schema has one or two

_Key = tuple[bytes | str, CallStyle, JsonStyle, int, Limits]
_cache: OrderedDict[_Key, Scaffold] = OrderedDict()
_lock = Lock()


def compile_schema(
    schema: object,
    *,
    call_style: CallStyle | None = None,
    json_style: JsonStyle = SPACED,
    max_calls: int = 1,
    limits: Limits = DEFAULT_LIMITS,
) -> Scaffold:
    """The scaffold of a JSON Schema, an OpenAI tool, a list of tools, or a Pydantic model class.

    A bare schema answers with its JSON value; tools answer with up to `max_calls` calls in `call_style`. Objects in a
    tool's parameters that name their properties, stand alone and do not mention additionalProperties take no unknown
    arguments (schema/closing.py). Raises SchemaError with a JSON pointer; UnsupportedSchema past `limits`.
    """
    if max_calls < 1:
        raise RequestError(f"max_calls must be at least 1, not {max_calls}")
    rest = (call_style or CallStyle(), json_style, max_calls, limits)
    quick = _fingerprint(schema)
    found = None if quick is None else _cached((quick, *rest))
    if found is not None:
        return found
    with _uncollected():
        _check_size(schema, limits)
        text = _content(schema)
        check_length(text, limits)
        found = _cached((text, *rest))
        if found is None:
            found = _compile(read_source(json.loads(text)), *rest)
        _keep((text, *rest), found)
        if quick is not None:
            _keep((quick, *rest), found)
    return found


@contextmanager
def _uncollected() -> Iterator[None]:
    """No search for garbage meanwhile: what compiling makes is kept, and for a large schema looking through it over and
    over takes a third of the time. Two threads at once at worst search early."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _cached(key: _Key) -> Scaffold | None:
    with _lock:
        if key in _cache:
            _cache.move_to_end(key)
        return _cache.get(key)


def _keep(key: _Key, scaffold: Scaffold) -> None:
    with _lock:
        _cache[key] = scaffold
        while len(_cache) > MAX_CACHED:
            _cache.popitem(last=False)


def _compile(
    source: Source, call_style: CallStyle, json_style: JsonStyle, max_calls: int, limits: Limits
) -> Scaffold:
    tools = tuple(parse_schema(tool.parameters, tool.pointer, limits) for tool in source.tools)
    nodes = tools or (parse_schema(source.schema, limits=limits),)
    root = answer_piece(source, nodes, call_style, json_style, max_calls)
    return Scaffold(source, nodes, root, call_style, json_style, max_calls)


def _check_size(schema: object, limits: Limits) -> None:
    """Raise UnsupportedSchema for a schema too long to be written out: one Python value may stand in it many times."""
    try:
        num_characters = _num_characters(schema, {})
    except RecursionError:  # nested too deeply, which is said where it is read
        return
    if num_characters > limits.max_characters:
        raise UnsupportedSchema(
            "",
            f"more than {limits.max_characters} characters of JSON; share parts by $ref, "
            "or pass limits=Limits(max_characters=...) to raise this",
        )


def _num_characters(value: object, known: dict[int, int]) -> int:
    """The fewest characters that plain JSON is written with; a shared part is counted once and added every time."""
    if isinstance(value, str):
        return len(value)
    if not isinstance(value, dict | list | tuple):
        return 1
    total = known.get(id(value))
    if total is None:
        total = 1
        if isinstance(value, dict):
            total += sum([len(key) for key in value if isinstance(key, str)])
        parts = value.values() if isinstance(value, dict) else value
        total += sum([_num_characters(part, known) for part in parts])
        known[id(value)] = total
    return total


def _fingerprint(schema: object) -> bytes | None:
    """Bytes that only this schema has, in microseconds. The same schema may have others: its text tells for sure.

    None for a Pydantic model class, a mapping of another type, or what is no JSON at all.
    """
    try:
        return marshal.dumps(cast(Any, schema))
    except ValueError:
        return None


def _content(schema: object) -> str:
    """The schema as JSON text. It is compiled from this text, so that nobody can change a cached scaffold's schema."""
    try:
        text = json.dumps(written_out(schema), ensure_ascii=False, default=_plain)
        text.encode()  # half of a surrogate pair cannot be written
    except (TypeError, ValueError, RecursionError) as error:
        check_nesting(schema, "")
        read_source(schema)  # which often knows better what is wrong
        raise InvalidSchema("", f"not JSON: {error}") from None
    return text


def _plain(value: object) -> dict[object, object]:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{show(value)} is no JSON value")
