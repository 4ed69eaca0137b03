"""Other wordings of the same tool: SGD-X writes each service in several variants, aligned by shape."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from random import Random
from typing import Any

from smoldiff_training.data.naming import words_of
from smoldiff_training.data.rows import Json, Row


@dataclass(frozen=True, slots=True)
class Wording:
    """How one variant words a tool: its name's words, its description, its (key, description) pairs."""

    name: tuple[str, ...]
    text: str
    slots: tuple[tuple[str, str], ...]


Wordings = dict[tuple[str, tuple[str, ...]], tuple[Wording, ...]]


def shape_of(tool: Json) -> tuple[Any, ...]:
    """What stays the same between variants: each property's type, choices, format and necessity."""
    parameters = tool["parameters"]
    required = parameters.get("required", ())
    return tuple(
        (key in required, str(s.get("type")), str(s.get("enum")), s.get("format"), s.get("pattern"))
        for key, s in parameters.get("properties", {}).items()
    )


def wording_of(tool: Json) -> Wording:
    slots = tuple(
        (k, s.get("description", "")) for k, s in tool["parameters"].get("properties", {}).items()
    )
    bare = tool["name"].rsplit(".", 1)[-1]
    return Wording(tuple(w.lower() for w in words_of(bare)), tool.get("description", ""), slots)


def key_of(tool: Json) -> tuple[str, tuple[str, ...]]:
    return tool.get("description", ""), tuple(tool.get("parameters", {}).get("properties", ()))


def collect_wordings(rows: Iterable[Row]) -> Wordings:
    """Per tool, by its description and keys, every variant's wording; tools of one wording are left out.

    Two tools of one service that share a shape cannot be told apart between variants: skipped.
    """
    by_shape: dict[tuple[Any, ...], dict[int, dict[tuple[str, tuple[str, ...]], Wording]]]
    by_shape = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        if row.source != "SGD" or len(row.services) != 1:
            continue
        called = {c["name"] for c in row.calls}
        for tool in row.tools:
            if tool["name"] in called:
                at = (row.services[0], shape_of(tool))
                by_shape[at][row.variant][key_of(tool)] = wording_of(tool)
    found: Wordings = {}
    seen: Counter[tuple[str, tuple[str, ...]]] = Counter()
    for variants in by_shape.values():
        if any(len(tools) > 1 for tools in variants.values()):
            continue
        wordings = tuple(next(iter(tools.values())) for tools in variants.values())
        for tools in variants.values():
            key = next(iter(tools))
            seen[key] += 1
            found[key] = wordings
    return {k: w for k, w in found.items() if seen[k] == 1 and len(w) > 1}


def reword(wordings: tuple[Wording, ...], rng: Random) -> Wording:
    """One variant as it is, or each word of the tool drawn from a variant of its own."""
    if rng.random() < 0.45:
        return rng.choice(wordings)
    first = rng.choice(wordings)
    slots = tuple(
        (rng.choice(wordings).slots[i][0], rng.choice(wordings).slots[i][1])
        for i in range(len(first.slots))
    )
    return Wording(first.name, rng.choice(wordings).text, slots)
