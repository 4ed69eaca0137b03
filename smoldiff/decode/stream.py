"""Fields of an answer as they become final."""

import json
from dataclasses import dataclass
from typing import Any

from smoldiff.scaffold.cursor import NotAPrefix
from smoldiff.scaffold.scaffold import Scaffold


@dataclass(frozen=True, slots=True)
class FinalField:
    """A value that will not change any more."""

    call_index: int
    pointer: str
    """JSON pointer into the call's arguments."""
    value: Any


def final_fields(scaffold: Scaffold, text: str | None) -> list[FinalField]:
    """The values that are written to their end so far, in order. Constants are not among them: they were never open.

    `text` is what is written of the scaffold; None where that cannot be read yet.
    """
    if not text:
        return []
    try:
        fields = scaffold.resume(text).fields
    except NotAPrefix:
        return []
    return [
        _final(f.pointer, text, f.start, f.end, has_calls=bool(scaffold.source.tools))
        for f in fields
        if f.is_done
    ]


def _final(pointer: str, text: str, start: int, end: int, *, has_calls: bool) -> FinalField:
    is_string = (
        text[start - 1 : start] == '"'
    )  # a slot behind a quote holds what stands between the quotes
    value = json.loads(text[start - 1 : end + 1] if is_string else text[start:end])
    if not has_calls:
        return FinalField(0, pointer, value)
    _, call_index, _, *rest = pointer.split("/")
    return FinalField(int(call_index), "".join("/" + key for key in rest), value)
