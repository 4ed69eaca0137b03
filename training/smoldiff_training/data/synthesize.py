"""Rows for what the corpus lacks: typed and nested arguments, several calls, none, and no arguments.

Real tool schemas give the shape; values come from the schema; a templated request mentions each of them.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from smoldiff_training.data.entities import Pool
from smoldiff_training.data.naming import words_of
from smoldiff_training.data.render import tool_line
from smoldiff_training.data.rows import Json, Row, in_schema_order
from smoldiff_training.data.values import NoValue, date_phrase, key_words, time_phrase, value_phrase

ASK = (
    "",
    "",
    "",
    "Please ",
    "Can you ",
    "I want to ",
    "Could you ",
    "I'd like to ",
    "Hey, ",
    "I need to ",
)
JOIN = (" Also, ", " Then ", " After that, ", " And ", "\n", " Next, ")
GREETINGS = (
    "Hi",
    "Hello!",
    "Good morning",
    "Thanks, that is all.",
    "Thank you!",
    "ok great, bye",
    "How are you?",
)
REPLIES = (
    "Hello! How can I help you?",
    "You're welcome! Is there anything else I can help you with?",
    "I'm here to help. What would you like to do?",
)
SORRY = ("I'm sorry, none of my tools can do that.", "I can't do that with the tools I have.")
NOT_NOW = re.compile(
    r"^(what|which|when|where|do you|in which|how many|at what|on what|from)\b.*\?$", re.I
)


@dataclass(frozen=True, slots=True)
class Seeds:
    """What rows are made of."""

    tools: Sequence[Json]  # real schemas without requests
    rows: Sequence[Row]
    short: Sequence[Row]  # rows of one user message
    asked: Sequence[Row]  # rows in which the assistant asks for something that is missing
    pool: Pool


def is_usable(tool: Json) -> bool:
    parameters = tool.get("parameters")
    return (
        isinstance(parameters, dict)
        and isinstance(parameters.get("properties", {}), dict)
        and bool(tool.get("description"))
        and tool["description"].isascii()
        and len(tool_line(tool)) < 1500
    )


def asks(message: Json) -> bool:
    text = message.get("content") or ""
    plain = message["role"] == "assistant" and not message.get("tool_calls")
    return plain and len(text) < 90 and bool(NOT_NOW.match(text))


def make_seeds(rows: Sequence[Row], tools: Sequence[Json], pool: Pool) -> Seeds:
    keep = ("name", "description", "parameters")
    usable = [{k: t[k] for k in keep} for t in tools if is_usable(t)]
    short = [r for r in rows if len(r.messages) == 1 and len(r.messages[0]["content"]) < 200]
    asked = [r for r in rows if r.source == "SGD" and any(asks(m) for m in r.messages[:6])]
    return Seeds(usable, rows, short, asked, pool)


def request_words(tool: Json, rng: Random) -> str:
    """The tool's purpose as a user would put it: its description or its name, cut short."""
    text = re.split(r"[.\n(:;]", tool["description"])[0].strip()
    if rng.random() < 0.2 or not 3 < len(text) < 120:
        text = " ".join(w.lower() for w in words_of(tool["name"]))
    words = text.split()
    if len(words) > 5 and rng.random() < 0.4:
        words = words[: rng.randint(4, len(words))]
    words[0] = words[0].lower()
    if words[0].endswith("s") and not words[0].endswith("ss") and len(words[0]) > 4:
        words[0] = words[0][:-1]  # "Retrieves ..." asks as "retrieve ..."
    return rng.choice(ASK) + " ".join(words)


def mention(key: str, value: Any, phrase: str, rng: Random) -> str:
    words = key_words(key)
    if isinstance(value, bool):
        plain = (f"with {words}", f"{words} on") if value else (f"without {words}", f"no {words}")
        return rng.choice(
            (*plain, f"{words} {phrase}", f"{words}: {phrase}", f"{words} should be {phrase}")
        )
    forms = (
        f"{words} {phrase}",
        f"{words} is {phrase}",
        f"{words}: {phrase}",
        f"{phrase} as the {words}",
        f"{words} = {phrase}",
        f"the {words} should be {phrase}",
        f"with {words} {phrase}",
    )
    return rng.choice(forms)


def make_call(tool: Json, today: datetime.date, pool: Pool, rng: Random) -> tuple[Json, list[str]]:
    """A call with values drawn from the schema, and a mention of each. Raises NoValue."""
    parameters = tool["parameters"]
    properties = parameters.get("properties") or {}
    required = parameters.get("required") or []
    arguments: Json = {}
    mentions: list[str] = []
    for key in rng.sample(list(properties), len(properties)):
        if key not in required and (len(arguments) > 5 or rng.random() < 0.6):
            continue
        value, phrase = value_phrase(key, properties[key], today, pool, rng)
        arguments[key] = value
        alone = len(required) <= 1 and isinstance(value, str) and rng.random() < 0.3
        mentions.append(
            rng.choice(("for ", "", "in ")) + phrase if alone else mention(key, value, phrase, rng)
        )
    if len(arguments) > 8:
        raise NoValue
    ordered = in_schema_order(arguments, parameters)
    return {"name": tool["name"], "arguments": ordered}, mentions


def sentence(tool: Json, mentions: list[str], rng: Random) -> str:
    text = request_words(tool, rng)
    if not mentions:
        return text + rng.choice((".", "", "?"))
    glue = rng.choice((" with ", ", ", ": ", ". ", " - "))
    return (
        text
        + glue
        + rng.choice((", ", ", ", " and ", "; ")).join(mentions)
        + rng.choice((".", "", ""))
    )


def system_with_date(today: datetime.date) -> Json:
    return {"role": "system", "content": f"Today's date is {today.isoformat()}."}


def from_schemas(seeds: Seeds, rng: Random) -> Row:
    """A request over real schemas: one to three calls, now and then over two turns."""
    today = datetime.date(rng.randint(2018, 2028), rng.randint(1, 12), rng.randint(1, 28))
    while True:
        picked = rng.sample(seeds.tools, rng.choice((1, 2, 3, 4, 5)))
        names = {t["name"] for t in picked}
        if len(names) < len(picked) or sum(len(tool_line(t)) for t in picked) > 3500:
            continue
        many = rng.random() < 0.25
        targets = (
            [picked[i % len(picked)] for i in range(rng.choice((2, 2, 3)))] if many else picked[:1]
        )
        if many and rng.random() < 0.4:
            targets = [picked[0]] * len(targets)
        try:
            made = [make_call(t, today, seeds.pool, rng) for t in targets]
        except NoValue:
            continue
        break
    said = [sentence(t, m, rng) for t, (_, m) in zip(targets, made, strict=True)]
    messages = [{"role": "user", "content": rng.choice(JOIN).join(said)}]
    if len(made) == 1 and len(made[0][1]) > 1 and rng.random() < 0.2:
        first, *rest = made[0][1]
        messages = [
            {"role": "user", "content": sentence(targets[0], rest, rng)},
            {"role": "assistant", "content": "I need one more detail to do that."},
            {"role": "user", "content": first},
        ]
    if rng.random() < 0.5:
        messages.insert(0, system_with_date(today))
    rng.shuffle(picked)
    return Row("synthetic", picked, messages, [call for call, _ in made])


DATED = (
    (
        "set_reminder",
        "Set a reminder",
        ("date", "time"),
        "remind me on {date} at {time} about {title}",
    ),
    (
        "add_event",
        "Add an event to the calendar",
        ("date", "time"),
        "put {title} in my calendar for {date} at {time}",
    ),
    ("book_table", "Book a table", ("date", "time"), "a table at {title} on {date}, {time}"),
    ("get_forecast", "Weather on a day", ("date",), "how is the weather in {title} on {date}?"),
    ("find_trains", "Find trains", ("date",), "trains to {title} on {date}"),
    (
        "create_task",
        "Create a task that is due on a day",
        ("date",),
        "new task {title}, due {date}",
    ),
)
DATE_KEYS = ("date", "day", "on_date", "due_date", "when")
TIME_KEYS = ("time", "start_time", "at", "at_time")
TITLE_KEYS = {"get_forecast": ("city", "place"), "find_trains": ("to", "destination")}


def from_dates(seeds: Seeds, rng: Random) -> Row:
    """Dates and times in words, against a system message that says which day it is."""
    today = datetime.date(rng.randint(2018, 2028), rng.randint(1, 12), rng.randint(1, 28))
    name, text, parts, form = rng.choice(DATED)
    title = rng.choice(seeds.pool.everything)
    date, date_said = date_phrase(today, rng)
    time, time_said = time_phrase(rng)
    title_key = rng.choice(TITLE_KEYS.get(name, ("title", "name", "subject")))
    properties: Json = {title_key: {"type": "string"}}
    arguments: Json = {title_key: title}
    key = rng.choice(DATE_KEYS)
    properties[key] = {"type": "string", "format": "date", "description": "Day as YYYY-MM-DD"}
    arguments[key] = date
    if "time" in parts:
        key = rng.choice(TIME_KEYS)
        properties[key] = {"type": "string", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$"}
        arguments[key] = time
    tool = {
        "name": name,
        "description": text,
        "parameters": {"type": "object", "properties": properties, "required": list(properties)},
    }
    said = form.format(date=date_said, time=time_said, title=title).replace("on today", "today")
    said = said.replace("on tomorrow", "tomorrow").replace("on the day after", "the day after")
    others = rng.sample(seeds.tools, rng.randint(0, 3))
    tools = [tool, *(t for t in others if t["name"] != name and len(tool_line(t)) < 800)]
    rng.shuffle(tools)
    messages = [system_with_date(today), {"role": "user", "content": rng.choice(ASK[:4]) + said}]
    return Row("synthetic", tools, messages, [{"name": name, "arguments": arguments}])


def joined_requests(seeds: Seeds, rng: Random) -> Row:
    """Two real one-line requests in one message, answered by both calls."""
    while True:
        a, b = rng.sample(seeds.short, 2)
        names = [{t["name"] for t in r.tools} for r in (a, b)]
        if not names[0] & names[1] and len(a.calls) + len(b.calls) <= 3:
            break
    called = {c["name"] for r in (a, b) for c in r.calls}
    tools = [t for r in (a, b) for t in r.tools if t["name"] in called or rng.random() < 0.4]
    rng.shuffle(tools)
    first, second = a.messages[0]["content"].rstrip(" ."), b.messages[0]["content"]
    said = first + rng.choice((" and also ", ". Also ", " and ", ", then ", ". ", "\n")) + second
    return Row("synthetic", tools, [{"role": "user", "content": said}], [*a.calls, *b.calls])


def without_call(seeds: Seeds, rng: Random) -> Row:
    """A turn that wants words: a question back, a greeting, or a request no tool fits."""
    draw = rng.random()
    if draw < 0.6:
        row = rng.choice(seeds.asked)
        at = rng.choice([i for i, m in enumerate(row.messages[:6]) if asks(m)])
        return Row("no-call", row.tools, row.messages[:at], [], row.messages[at]["content"])
    row = rng.choice(seeds.rows)
    if draw < 0.85:
        said, answer = rng.choice(GREETINGS), rng.choice(REPLIES)
    else:
        other = rng.choice(seeds.tools)
        said, answer = request_words(other, rng), rng.choice(SORRY)
    return Row("no-call", row.tools, [{"role": "user", "content": said}], [], answer)


def synthesize(seeds: Seeds, rng: Random) -> Row:
    """One synthetic row with at least one call."""
    draw = rng.random()
    if draw < 0.65:
        return from_schemas(seeds, rng)
    return from_dates(seeds, rng) if draw < 0.8 else joined_requests(seeds, rng)
