"""Replace the values that a conversation mentions, so that copying is learned and not the values."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from smoldiff_training.data.naming import terms
from smoldiff_training.data.rows import Json, Row

ONSETS = terms("b c d f g h k l m n p r s t v w z br cl dr fl gr pl st tr sh ch")
VOWELS = terms("a e i o u ai ea ia oo")
CODAS = ["", "", "", "n", "r", "s", "l", "t", "m", "x", "nd", "ck"]


@dataclass(frozen=True, slots=True)
class Pool:
    """Values seen in the corpus, by the description of the property they fill, and all together."""

    by_text: dict[str, list[str]]
    everything: list[str]


NARROWING = ("enum", "format", "pattern", "const", "anyOf", "oneOf", "allOf", "$ref")


def is_free(s: object) -> bool:
    """Whether any string may stand here: nothing chooses or shapes it."""
    if not isinstance(s, dict) or any(word in s for word in NARROWING):
        return False
    return is_free(s["items"]) if isinstance(s.get("items"), dict) else True


def free_strings(call: Json, tool: Json) -> list[tuple[str, str]]:
    """(description, value) of each top-level string that no enum, format or pattern narrows."""
    properties = tool.get("parameters", {}).get("properties", {})
    found = []
    for key, value in call["arguments"].items():
        s = properties.get(key)
        if not is_free(s):
            continue
        values = value if isinstance(value, list) else [value]
        text = s.get("description", "")
        found += [(text, v) for v in values if isinstance(v, str)]
    return found


def collect_pool(rows: Iterable[Row]) -> Pool:
    by_text: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        tools = {t["name"]: t for t in row.tools}
        for call in row.calls:
            for text, value in free_strings(call, tools.get(call["name"], {})):
                if 2 < len(value) < 40:
                    by_text[text].add(value)
    everything = sorted(set().union(*by_text.values())) if by_text else ["Paris"]
    return Pool({k: sorted(v) for k, v in by_text.items()}, everything)


def made_up_words(rng: Random) -> str:
    """One to three words that nobody has seen, mostly capitalised."""
    words = []
    for _ in range(rng.choice((1, 1, 2, 2, 3))):
        parts = [
            rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS)
            for _ in range(rng.choice((1, 2, 2, 3)))
        ]
        words.append("".join(parts))
    text = " ".join(words)
    return text.title() if rng.random() < 0.8 else text


def fresh_value(text: str, value: str, pool: Pool, rng: Random) -> str:
    if value.isdigit():
        return str(rng.randint(1, 10 ** min(len(value), 9) - 1) + rng.randint(0, 3))
    draw = rng.random()
    if draw < 0.5 and len(pool.by_text.get(text, ())) > 3:
        new = rng.choice(pool.by_text[text])
    elif draw < 0.72:
        new = rng.choice(pool.everything)
    else:
        new = made_up_words(rng)
    return new.lower() if value.islower() else new


def like(found: str, value: str, new: str) -> str:
    """`new` in the case that the text used for `value`."""
    if found == value:
        return new
    if found.islower():
        return new.lower()
    return new.upper() if found.isupper() and len(found) > 3 else new


def map_strings(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [map_strings(v, change) for v in value]
    if isinstance(value, dict):
        return {k: map_strings(v, change) for k, v in value.items()}
    return value


def map_message(message: Json, change: Callable[[str], str]) -> Json:
    """The message with every text in it changed; names and keys of its calls stay."""
    new = dict(message)
    if isinstance(message.get("content"), str) and message["role"] != "system":
        new["content"] = change(message["content"])
    if message.get("tool_calls"):
        new["tool_calls"] = [
            {"name": c["name"], "arguments": map_strings(c["arguments"], change)}
            for c in message["tool_calls"]
        ]
    return new


def free_numbers(call: Json, tool: Json) -> list[int]:
    """Whole numbers of three digits and more in plain number arguments: too long to be a count or a time."""
    properties = tool.get("parameters", {}).get("properties", {})
    plain = ("integer", "number")
    return [
        int(value)
        for key, value in call["arguments"].items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
        if value >= 100 and value == int(value)
        if (s := properties.get(key, {})).get("type") in plain
        and "enum" not in s
        and "maximum" not in s
    ]


def replace_numbers(row: Row, rng: Random) -> Row:
    """Large numbers swapped for others as long, in digits with and without commas."""
    tools = {t["name"]: t for t in row.tools}
    swaps = {
        n: rng.randint(10 ** (len(str(n)) - 1), 10 ** len(str(n)) - 1) // 10 * 10 + n % 10
        for c in row.calls
        for n in free_numbers(c, tools.get(c["name"], {}))
    }
    if not swaps or any(m.get("tool_calls") for m in row.messages):
        return row
    forms = {str(old): str(new) for old, new in swaps.items()}
    forms |= {f"{old:,}": f"{new:,}" for old, new in swaps.items()}
    longest_first = sorted(forms, key=len, reverse=True)
    pattern = re.compile(
        r"(?<![\w,.])(?:" + "|".join(map(re.escape, longest_first)) + r")(?![\w]|,\d)"
    )
    said = "\n".join(m.get("content") or "" for m in row.messages)
    if {f.replace(",", "") for f in pattern.findall(said)} != {str(n) for n in swaps}:
        return row

    def change(text: str) -> str:
        return pattern.sub(lambda m: forms[m.group()], text)

    messages = [map_message(m, change) for m in row.messages]
    calls = []
    for call in row.calls:
        mine = set(free_numbers(call, tools.get(call["name"], {})))
        arguments = {
            k: type(v)(swaps[int(v)])
            if isinstance(v, (int, float)) and not isinstance(v, bool) and v in mine
            else v
            for k, v in call["arguments"].items()
        }
        calls.append({"name": call["name"], "arguments": arguments})
    return replace(row, messages=messages, calls=calls)


def replace_entities(row: Row, pool: Pool, rng: Random, share: float) -> Row:
    """Some values swapped for others everywhere at once; only values the messages hold word for word."""
    tools = {t["name"]: t for t in row.tools}
    said = "\n".join(m.get("content") or "" for m in row.messages).lower()
    swaps: dict[str, tuple[str, str]] = {}
    for call in row.calls:
        for text, value in free_strings(call, tools.get(call["name"], {})):
            low = value.lower()
            is_said = (len(value) > 2 or value.isdigit()) and low in said
            if is_said and low not in swaps and rng.random() < share:
                swaps[low] = (value, fresh_value(text, value, pool, rng))
    if not swaps:
        return row
    longest_first = sorted(swaps, key=len, reverse=True)
    pattern = re.compile(
        r"(?<!\w)(?:" + "|".join(re.escape(v) for v in longest_first) + r")(?!\w)", re.IGNORECASE
    )

    def put(match: re.Match[str]) -> str:
        pair = swaps.get(match.group().lower())
        return like(match.group(), *pair) if pair else match.group()

    def change(text: str) -> str:
        return pattern.sub(put, text)

    def change_value(text: str) -> str:
        # Only whole values: a name inside a longer free text stays with that text's own swap.
        pair = swaps.get(text.lower())
        return pair[1] if pair else change(text)

    messages = [map_message(m, change) for m in row.messages]
    calls = [
        {"name": c["name"], "arguments": swap_arguments(c, tools.get(c["name"], {}), change_value)}
        for c in row.calls
    ]
    return replace(row, messages=messages, calls=calls)


def swap_arguments(call: Json, tool: Json, change: Callable[[str], str]) -> Json:
    """The arguments with free strings changed; choices and formatted values stay."""
    properties = tool.get("parameters", {}).get("properties", {})
    out = {}
    for key, value in call["arguments"].items():
        out[key] = map_strings(value, change) if is_free(properties.get(key)) else value
    return out
