"""A call from anywhere, read as far as it can be. The one contact with json_repair."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from smoldiff.decode.result import CallResult, ToolCall
from smoldiff.errors import RequestError, UnsupportedSchema
from smoldiff.schema.dialect import check_nesting
from smoldiff.schema.pointers import child

MAX_SHOWN = 80


@dataclass(frozen=True, slots=True)
class ForeignCall:
    """A call that may be wrong in every way; `confidence` by JSON pointer into the arguments, where it is known."""

    name: str | None
    arguments: Any
    confidence: Mapping[str, float]


def read_call(call: Any, confidence: Mapping[str, float] | None) -> ForeignCall:
    """The call in a ToolCall, a CallResult, OpenAI's form of a call or {"name", "arguments"}; JSON text may be broken.

    What is said in `confidence` goes before what the call itself says. Raises RequestError.
    """
    said = _checked({} if confidence is None else confidence)
    if isinstance(call, CallResult):
        if len(call.calls) != 1:
            raise RequestError(
                f"call: an answer with {len(call.calls)} calls; repair one of its `.calls` at a time"
            )
        call = call.calls[0]
    if isinstance(call, ToolCall):
        return ForeignCall(
            call.name, _as_json(call.arguments), {**_checked(call.confidence), **said}
        )
    name, arguments = _parts(call)
    if not isinstance(arguments, str):
        return ForeignCall(name, _as_json(arguments), said)
    value, doubtful = _read(arguments)
    return ForeignCall(name, _as_json(value), {**dict.fromkeys(doubtful, 0.0), **said})


def _parts(call: Any) -> tuple[str | None, Any]:
    body = call.get("function", call) if isinstance(call, Mapping) else None
    if not isinstance(body, Mapping) or "arguments" not in body:
        raise RequestError(
            f"call={_short(repr(call))}: expected a ToolCall, a CallResult, OpenAI's tool call, "
            "or {'name': ..., 'arguments': ...}"
        )
    name = body.get("name")
    return (name if isinstance(name, str) else None), body["arguments"]


def _checked(confidence: Any) -> Mapping[str, float]:
    if not isinstance(confidence, Mapping):
        raise RequestError("confidence: expected a dict from JSON pointer to a number in 0..1")
    for pointer, chance in confidence.items():
        is_number = isinstance(chance, int | float) and not isinstance(chance, bool)
        if not isinstance(pointer, str) or (pointer and not pointer.startswith("/")):
            raise RequestError(f"confidence[{pointer!r}]: expected a JSON pointer, such as '/city'")
        if not is_number or not 0 <= chance <= 1:
            raise RequestError(f"confidence[{pointer!r}]={chance!r}: expected a number in 0..1")
    return confidence


def _as_json(value: Any) -> Any:
    """The value as JSON would hold it; NaN and infinities stay, so that they can be found."""
    try:
        check_nesting(value, "")
        return json.loads(json.dumps(value))
    except UnsupportedSchema as problem:
        raise RequestError(f"the call's arguments: {problem.problem.partition(';')[0]}") from None
    except (TypeError, ValueError, RecursionError) as problem:
        raise RequestError(f"the call's arguments are no JSON value: {problem}") from None


def _read(text: str) -> tuple[Any, set[str]]:
    """The value that a JSON text holds, and the pointers of what a broken one does not surely hold.

    That is what changes when the text ends one character earlier: a value that the text breaks off in.
    """
    try:
        return json.loads(text), set()
    except (ValueError, RecursionError) as problem:
        value, earlier = _mended(text.rstrip(), problem), _mended(text.rstrip()[:-1], problem)
    before = dict(values(earlier))
    return value, {at for at, one in values(value) if at not in before or before[at] != one}


def _mended(text: str, problem: Exception) -> Any:
    import json_repair

    try:
        value = json_repair.loads(text) if text.strip() else {}
    except RecursionError:
        raise RequestError("the call's arguments are nested too deeply to be read") from None
    if isinstance(value, str):  # this is how it says that there is none
        raise RequestError(f"the call's arguments hold no JSON: {problem}: {_short(text)!r}")
    return value


def values(value: Any) -> Iterator[tuple[str, Any]]:
    """The values inside a value that hold no other, in order, with their pointers."""
    todo = [("", value)]
    while todo:
        pointer, one = todo.pop()
        if isinstance(one, dict | list) and one:
            inside = one.items() if isinstance(one, dict) else enumerate(one)
            todo += reversed([(child(pointer, key), item) for key, item in inside])
        else:
            yield pointer, one


def is_json(value: Any) -> bool:
    """Whether a value that holds no other can be written as JSON: NaN and half a surrogate pair cannot."""
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, str) or not any("\ud800" <= char <= "\udfff" for char in value)


def _short(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."
