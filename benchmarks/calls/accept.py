"""Calls against lists of acceptable values, as BFCL and ACEBench give them.

BFCL       a list with one entry a call: [{"tool": {"argument": [acceptable, ...]}}]. "" among the acceptable means
           that the argument may be left out. Inside objects the same: {"key": [acceptable, ...]}.
ACEBench   one entry with all calls: {"tool": {"argument": value}}, or a list of such entries, any of which will do. A
           tool called twice stands as "tool_1", "tool_2".

Both compare strings as BFCL's own checker does: without case, spaces and the characters , . / - _ * ^, and with both
quotes alike. Calls match in any order, each with an entry of its own. Numbers are compared by value, booleans never
as numbers. What this leaves out of BFCL's checker: nothing is executed, and a string is never read as another type.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from calls.data import Example
from calls.parse import Call
from calls.values import json_equal

IGNORED = re.compile(r"[ ,./\-_*^]")
MAY_BE_LEFT_OUT = ""


def is_accepted(calls: Sequence[Call], example: Example) -> bool:
    """Whether the calls are acceptable answers to an example with `accept`."""
    if example.source.startswith("BFCL"):
        return _match_all(calls, example.accept, _fits_bfcl)
    entries = example.accept if isinstance(example.accept, list) else [example.accept]
    known = {tool["name"] for tool in example.tools}
    return any(_match_all(calls, _unfold(entry, known), _fits_acebench) for entry in entries)


def _unfold(entry: Mapping[str, Any], known: set[str]) -> list[Mapping[str, Any]]:
    """One entry a call, the numbers behind repeated tools' names taken off."""
    plain = ((n if n in known else re.sub(r"_\d+$", "", n), a) for n, a in entry.items())
    return [{name: arguments} for name, arguments in plain]


def _match_all(calls: Sequence[Call], entries: Sequence[Mapping[str, Any]], fits: Any) -> bool:
    """Whether calls and entries can be paired off completely: a bipartite matching, by augmenting paths."""
    if len(calls) != len(entries):
        return False
    fitting = [[e for e, entry in enumerate(entries) if fits(call, entry)] for call in calls]
    taken_by: dict[int, int] = {}

    def place(call_idx: int, seen: set[int]) -> bool:
        for e in fitting[call_idx]:
            if e not in seen:
                seen.add(e)
                if e not in taken_by or place(taken_by[e], seen):
                    taken_by[e] = call_idx
                    return True
        return False

    return all(place(i, set()) for i in range(len(calls)))


def _fits_bfcl(call: Call, entry: Mapping[str, Any]) -> bool:
    return call["name"] in entry and _object_fits(call["arguments"], entry[call["name"]])


def _object_fits(value: object, accept: Mapping[str, Sequence[Any]]) -> bool:
    if not isinstance(value, dict) or not value.keys() <= accept.keys():
        return False
    return all(
        any(_value_fits(value[key], one) for one in ones) if key in value else _optional(ones)
        for key, ones in accept.items()
    )


def _optional(ones: Sequence[Any]) -> bool:
    return any(isinstance(one, str) and one == MAY_BE_LEFT_OUT for one in ones)


def _value_fits(value: object, one: object) -> bool:
    """One acceptable value; the objects in it hold lists of acceptable values in their turn."""
    if isinstance(one, dict) and all(isinstance(inner, list) for inner in one.values()):
        return _object_fits(value, one)
    if isinstance(one, list):
        return _items_fit(value, one, _value_fits)
    return _leaf_fits(value, one)


def _fits_acebench(call: Call, entry: Mapping[str, Any]) -> bool:
    return call["name"] in entry and _plain_fits(call["arguments"], entry[call["name"]])


def _plain_fits(value: object, wanted: object) -> bool:
    if isinstance(wanted, dict):
        is_alike = isinstance(value, dict) and value.keys() == wanted.keys()
        return is_alike and all(_plain_fits(value[key], wanted[key]) for key in wanted)
    if isinstance(wanted, list):
        return _items_fit(value, wanted, _plain_fits)
    return _leaf_fits(value, wanted)


def _items_fit(value: object, wanted: Sequence[Any], fits: Any) -> bool:
    is_alike = isinstance(value, list) and len(value) == len(wanted)
    return is_alike and all(fits(v, w) for v, w in zip(value, wanted, strict=True))


def _leaf_fits(value: object, wanted: object) -> bool:
    if isinstance(value, str) and isinstance(wanted, str):
        return plain(value) == plain(wanted)
    return json_equal(value, wanted)


def plain(text: str) -> str:
    """A string as BFCL compares it."""
    return IGNORED.sub("", text).lower().replace("'", '"')
