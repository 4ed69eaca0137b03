"""The calls in an answer's text, read without the library's own reader: the benchmark checks that one too."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Call = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Frame:
    """The text around each call, and the keys inside it."""

    begin: str
    end: str
    name_key: str
    arguments_key: str


def parse_calls(text: str, frame: Frame) -> list[Call] | None:
    """Every call as {"name", "arguments"}, or None where the text is anything but framed calls."""
    rest, calls = text.strip(), []
    while rest:
        if not rest.startswith(frame.begin):
            return None
        rest = rest[len(frame.begin) :].lstrip()
        try:
            body, stop = json.JSONDecoder(parse_constant=_refuse).raw_decode(rest)
        except ValueError:
            return None
        rest = rest[stop:].lstrip()
        if not rest.startswith(frame.end) or not _is_call(body, frame):
            return None
        rest = rest[len(frame.end) :].lstrip()
        calls.append({"name": body[frame.name_key], "arguments": body[frame.arguments_key]})
    return calls or None


def _is_call(body: object, frame: Frame) -> bool:
    return isinstance(body, dict) and body.keys() == {frame.name_key, frame.arguments_key}


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")


def names(calls: Sequence[Call]) -> list[str]:
    return [call["name"] for call in calls]
