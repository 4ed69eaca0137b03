"""Whether an answer is right: exactly, acceptably, by tool name, and by its schema."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from calls.accept import is_accepted
from calls.data import Example
from calls.parse import Call, Frame, names, parse_calls
from calls.values import json_equal
from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.validators import validator_for


@dataclass(frozen=True, slots=True)
class Score:
    """`is_accepted` is None where the example has no acceptable values."""

    is_exact: bool
    is_name_right: bool
    is_valid: bool
    is_accepted: bool | None


def score(text: str | None, example: Example, frame: Frame) -> Score:
    """The score of a written answer; an answer that ended in an error has no text and no point."""
    has_accept = example.accept is not None
    calls = parse_calls(text, frame) if text is not None else None
    if calls is None:
        return Score(False, False, False, False if has_accept else None)
    return Score(
        is_exact=is_exact(calls, example.calls),
        is_name_right=names(calls) == [call["name"] for call in example.calls],
        is_valid=all(is_valid(call, example.tools) for call in calls),
        is_accepted=is_accepted(calls, example) if has_accept else None,
    )


def is_exact(calls: Sequence[Call], wanted: Sequence[Any]) -> bool:
    """Whether all calls are the wanted ones, in order: names and arguments equal as JSON values."""
    return len(calls) == len(wanted) and all(
        call["name"] == want["name"] and json_equal(call["arguments"], want["arguments"])
        for call, want in zip(calls, wanted, strict=True)
    )


def is_valid(call: Call, tools: Sequence[Any]) -> bool:
    """Whether a call names one of the tools and its arguments validate under that tool's parameters."""
    parameters = {tool["name"]: tool["parameters"] for tool in tools}.get(call["name"])
    if parameters is None:
        return False
    return bool(_validator(json.dumps(parameters)).is_valid(call["arguments"]))


@lru_cache(maxsize=1024)
def _validator(schema_text: str) -> Any:
    schema = json.loads(schema_text)
    kind = validator_for(schema, default=Draft202012Validator)
    return kind(schema, format_checker=FormatChecker())
