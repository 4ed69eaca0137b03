"""A row as it could also have been: other wording, names, order, distractors and values.

Every function is pure and draws from the `Random` it is given, so an epoch repeats under its seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from smoldiff_training.data.aliases import Wordings, key_of, reword
from smoldiff_training.data.entities import Pool, replace_entities, replace_numbers
from smoldiff_training.data.naming import (
    STYLES,
    content_words,
    join_words,
    swap_words,
    terms,
    words_of,
)
from smoldiff_training.data.rows import Json, Row, order_call

SYSTEM_TEXTS = (
    "You are a helpful assistant.",
    "You are an assistant that can call functions.",
    "Help the user with the tools below.",
    "You are a voice assistant on a phone.",
)
VERBS = frozenset(
    terms(
        "get find search book buy list create add show make check reserve play set update delete send look for of by"
    )
)


@dataclass(frozen=True, slots=True)
class Corpus:
    """What augmentation draws from."""

    wordings: Wordings
    pool: Pool
    distractors: Sequence[Json]


@dataclass(frozen=True, slots=True)
class Renaming:
    """Drawn once a row: how its tools and keys are written."""

    tool_style: str  # "" keeps names
    key_style: str  # "" keeps keys
    reword: bool
    synonyms: float
    bare: bool  # no property descriptions
    shuffle: bool
    invent: float  # share of keys made from their description


def draw_renaming(rng: Random) -> Renaming:
    return Renaming(
        tool_style=rng.choice(STYLES) if rng.random() < 0.5 else "",
        key_style=rng.choice(STYLES[:3]) if rng.random() < 0.35 else "",
        reword=rng.random() < 0.75,
        synonyms=0.35 if rng.random() < 0.3 else 0.0,
        bare=rng.random() < 0.07,
        shuffle=rng.random() < 0.5,
        invent=0.3 if rng.random() < 0.15 else 0.0,
    )


def new_name(words: list[str], old: str, style: str, how: Renaming, rng: Random) -> str:
    if how.synonyms:
        words = swap_words(words, rng, how.synonyms)
    if not style:
        style = (
            "snake" if "_" in old or old.islower() else "pascal" if old[:1].isupper() else "camel"
        )
    return join_words(words, style)


def new_property(s: object, text: str | None, how: Renaming, rng: Random) -> object:
    if not isinstance(s, dict):
        return s
    s = dict(s)
    if text is not None:
        s["description"] = text
    if how.bare or rng.random() < 0.04:
        s.pop("description", None)
    enum = s.get("enum")
    if isinstance(enum, list) and all(isinstance(v, str) for v in enum) and rng.random() < 0.3:
        s["enum"] = rng.sample(enum, len(enum))
    return s


def rename_tool(
    tool: Json, used: frozenset[str], how: Renaming, corpus: Corpus, rng: Random
) -> tuple[Json, dict[str, str]]:
    """The tool reworded, and where each of its keys went. `used` keys are never dropped."""
    parameters = tool.get("parameters") or {}
    properties: Json = parameters.get("properties") or {}
    required = parameters.get("required") or ()
    options = corpus.wordings.get(key_of(tool)) if how.reword else None
    wording = reword(options, rng) if options else None
    name, text = tool["name"], tool.get("description", "")
    if wording or how.tool_style or how.synonyms:
        words = list(wording.name) if wording else words_of(name.rsplit(".", 1)[-1])
        if words:
            head = name.rsplit(".", 1)[0] + "." if "." in name and rng.random() < 0.5 else ""
            style = how.tool_style
            if not head and not style and wording:
                style = "snake" if name.islower() else "pascal"
            name = head + new_name(words, name, style, how, rng)
    if wording:
        text = wording.text
    order = list(enumerate(properties))
    if how.shuffle:
        rng.shuffle(order)
    moved: dict[str, str] = {}
    fresh: Json = {}
    for i, key in order:
        if key not in required and key not in used and rng.random() < 0.03:
            continue
        new_text = wording.slots[i][1] if wording else None
        new_key = wording.slots[i][0] if wording else key
        s = new_property(properties[key], new_text, how, rng)
        if how.invent and rng.random() < how.invent and isinstance(s, dict):
            words = content_words(s.get("description", ""))[:4]
            new_key = join_words(words, "snake") if words else new_key
        if how.key_style or how.synonyms:
            words = words_of(new_key)
            new_key = new_name(words, new_key, how.key_style, how, rng) if words else new_key
        if not new_key or new_key in fresh:
            new_key = key
        if new_key in fresh:
            return tool, {k: k for k in properties}
        moved[key] = new_key
        fresh[new_key] = s
    changed: Json = dict(parameters) | {"type": "object", "properties": fresh}
    if required:
        changed["required"] = [moved[k] for k in required if k in moved]
    out: Json = {"name": name, "description": text, "parameters": changed}
    if not text or (len(text) > 4 and rng.random() < 0.04):
        del out["description"]
    return out, moved


def topic(tool: Json) -> frozenset[str]:
    """Words that say what a tool is about, to keep a distractor from being a second right answer."""
    words = {w.lower() for w in words_of(tool["name"])} | set(
        content_words(tool.get("description", ""))
    )
    return frozenset(w.rstrip("s") for w in words if len(w) > 2) - VERBS


def with_distractors(row: Row, corpus: Corpus, rng: Random) -> list[Json]:
    """The row's tools in a new order, some unused ones dropped, some of other rows added."""
    called = {c["name"] for c in row.calls}
    tools = [t for t in row.tools if t["name"] in called or rng.random() > 0.08]
    if corpus.distractors and rng.random() < 0.4:
        about = frozenset().union(*(topic(t) for t in row.tools))
        for _ in range(rng.choice((1, 1, 1, 2, 2, 3))):
            other = rng.choice(corpus.distractors)
            if len(tools) < 8 and not topic(other) & about:
                tools.append(other)
    rng.shuffle(tools)
    return tools


def augment(row: Row, corpus: Corpus, rng: Random) -> Row:
    """One new version of the row. Its calls are in the order of the new schemas."""
    if rng.random() < 0.6:
        row = replace_entities(row, corpus.pool, rng, share=0.7)
    if rng.random() < 0.5:
        row = replace_numbers(row, rng)
    if rng.random() < 0.05:
        return row
    how = draw_renaming(rng)
    in_history = [c for m in row.messages for c in m.get("tool_calls") or ()]
    used: dict[str, set[str]] = {}
    for call in [*row.calls, *in_history]:
        used.setdefault(call["name"], set()).update(call.get("arguments") or ())
    tools: list[Json] = []
    renamed: dict[str, tuple[str, dict[str, str]]] = {}
    names: set[str] = set()
    for tool in with_distractors(row, corpus, rng):
        keys = frozenset(used.get(tool["name"], ()))
        new, moved = rename_tool(tool, keys, how, corpus, rng)
        if new["name"] in names:
            new, moved = tool, {k: k for k in tool.get("parameters", {}).get("properties", {})}
        if new["name"] in names:
            if tool["name"] in used:
                return row
            continue
        names.add(new["name"])
        renamed.setdefault(tool["name"], (new["name"], moved))
        tools.append(new)

    def carry(call: Json) -> Json:
        name, moved = renamed.get(call["name"], (call["name"], {}))
        arguments = {moved.get(k, k): v for k, v in (call.get("arguments") or {}).items()}
        return order_call({"name": name, "arguments": arguments}, tools)

    messages = row.messages
    if in_history:
        messages = [
            m | {"tool_calls": [carry(c) for c in m["tool_calls"]]} if m.get("tool_calls") else m
            for m in messages
        ]
    if (not messages or messages[0]["role"] != "system") and rng.random() < 0.12:
        messages = [{"role": "system", "content": rng.choice(SYSTEM_TEXTS)}, *messages]
    return replace(row, tools=tools, messages=messages, calls=[carry(c) for c in row.calls])
