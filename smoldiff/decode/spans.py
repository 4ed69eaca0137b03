"""Where the values of a written answer stand in its text."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from smoldiff.scaffold.answer import CallStyle
from smoldiff.scaffold.lexer import value_span
from smoldiff.schema.pointers import child
from smoldiff.schema.source import Source, Tool

_SPACE = " \t\r\n"


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of the text, from `start` to `end`."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Member:
    """A value inside an object or an array. `key` is its key or its index; an item has no `name`."""

    key: str | int
    name: Part | None
    value: Part


def value_at(text: str, start: int) -> Part:
    """The JSON value that begins at `start`."""
    return Part(start, value_span(text, start)[0])


def members(text: str, part: Part) -> Iterator[Member]:
    """The members of an object or array, in order; a scalar has none. The text is whole JSON."""
    is_object = text[part.start] == "{"
    if not is_object and text[part.start] != "[":
        return
    at, idx = _skip(text, part.start + 1), 0
    while at < part.end - 1:
        name = None
        if is_object:
            name = value_at(text, at)
            at = _skip(text, _skip(text, name.end) + 1)
        value = value_at(text, at)
        key = json.loads(text[name.start : name.end]) if name else idx
        yield Member(key, name, value)
        at, idx = _skip(text, _skip(text, value.end) + 1), idx + 1


def leaves(text: str, part: Part) -> Iterator[tuple[str, Part]]:
    """The values inside a value that hold no other, in order, by their pointers into it."""
    todo = [("", part)]
    while todo:
        pointer, at = todo.pop()
        inside = [(child(pointer, member.key), member.value) for member in members(text, at)]
        if not inside:
            yield pointer, at
        todo += reversed(inside)


def arguments(text: str, source: Source, style: CallStyle) -> Iterator[tuple[Part, Tool | None]]:
    """The arguments of each call of an answer with the tool; the one value of a bare schema with None.

    What is no whole call ends the search.
    """
    if not source.tools:
        yield value_at(text, _skip(text, 0)), None
        return
    begin, end, between = style.begin.strip(), style.end.strip(), style.between.strip()
    at = _skip(text, max(0, style.start_in(text)))
    while _has_body(text, begin, at):
        body = value_at(text, _skip(text, at + len(begin)))
        found = {m.key: m.value for m in members(text, body)}
        tool = _tool(text, source, found.get(style.name_key))
        if tool is None or style.arguments_key not in found:
            return
        yield found[style.arguments_key], tool
        at = _behind(text, between, _behind(text, end, _skip(text, body.end)))


def _has_body(text: str, begin: str, at: int) -> bool:
    return text.startswith(begin, at) and text.startswith("{", _skip(text, at + len(begin)))


def _tool(text: str, source: Source, name: Part | None) -> Tool | None:
    written = json.loads(text[name.start : name.end]) if name else None
    return next((tool for tool in source.tools if tool.name == written), None)


def _behind(text: str, mark: str, at: int) -> int:
    return _skip(text, at + len(mark)) if text.startswith(mark, at) else len(text)


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in _SPACE:
        at += 1
    return at
