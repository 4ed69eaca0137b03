"""Values drawn from a schema, each with the words a user might say for it."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from random import Random
from typing import Any

from smoldiff_training.data.entities import Pool, made_up_words
from smoldiff_training.data.naming import terms, words_of

NUMBER_WORDS = terms("zero one two three four five six seven eight nine ten eleven twelve")
IDENTIFIERS = frozenset(terms("id key token uuid hash code sku ref number slug"))
PATHS = frozenset(terms("path file filename directory folder dir"))
ADDRESSES = frozenset(terms("url uri link endpoint website domain"))
TEXTS = frozenset(terms("text message content description body comment note summary prompt"))
NAMES = terms(
    "alice bob carla dmitri elena farid grace hiro ines jonas kira luis mona nadia omar priya"
)
TOPICS = terms(
    "solar panels,machine learning,spring sale,quarterly report,team meeting,red shoes,bug fix,climate,"
    "garden design,tax return,night train,open source,user login,release notes,data backup,jazz,vegan recipes,"
    "system outage,travel plans,new office,coffee beans,weekly sync,budget draft,stock prices",
    separator=",",
)
MONTHS = terms(
    "January February March April May June July August September October November December"
)
DAYS = terms("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")


class NoValue(Exception):
    """No value can be made for this schema; the tool is passed over."""


def ordinal(n: int) -> str:
    ending = "th" if 10 < n % 100 < 14 else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{ending}"


def date_phrase(today: datetime.date, rng: Random) -> tuple[str, str]:
    """An ISO date and words for it, some relative to `today`."""
    ahead = rng.randint(0, 20)
    day = today + datetime.timedelta(days=ahead)
    month = MONTHS[day.month - 1]
    phrases = [
        f"{month} {ordinal(day.day)}",
        f"{month} {day.day}",
        f"{ordinal(day.day)} of {month}",
        day.isoformat(),
        f"{month[:3]} {day.day}, {day.year}",
    ]
    if ahead < 3:
        phrases += [("today", "tomorrow", "the day after tomorrow")[ahead]] * 4
    elif ahead < 7:
        phrases += [DAYS[day.weekday()], f"this {DAYS[day.weekday()]}"] * 2
    elif day.month == today.month:
        phrases += [f"the {ordinal(day.day)}", f"the {ordinal(day.day)} of this month"]
    return day.isoformat(), rng.choice(phrases)


def time_phrase(rng: Random) -> tuple[str, str]:
    """HH:MM and words for it."""
    hour, minute = rng.randint(0, 23), rng.choice((0, 0, 0, 15, 30, 45, rng.randint(0, 59)))
    half = "am" if hour < 12 else "pm"
    short = hour % 12 or 12
    clock = f"{short}:{minute:02d} {half}"
    phrases = [f"{hour:02d}:{minute:02d}", clock, clock]
    if minute == 0:
        part = "morning" if hour < 12 else "afternoon" if hour < 18 else "evening"
        phrases += [f"{short} {half}", f"{short}{half}", f"{short} in the {part}"]
    if minute == 30 and hour:
        phrases.append(f"half past {short} {half}")
    return f"{hour:02d}:{minute:02d}", rng.choice(phrases)


def number_phrase(s: Mapping[str, Any], is_integer: bool, rng: Random) -> tuple[Any, str]:
    lo = s.get("minimum", s.get("exclusiveMinimum"))
    hi = s.get("maximum", s.get("exclusiveMaximum"))
    low = lo if isinstance(lo, (int, float)) and not isinstance(lo, bool) else 1
    top = rng.choice((9, 20, 100, 1000, 20_000))
    high = hi if isinstance(hi, (int, float)) and not isinstance(hi, bool) else low + top
    if high - low > 1e6:
        high = low + top
    if low > high or (is_integer and int(high) <= int(low)):
        raise NoValue
    if is_integer:
        n = rng.randint(int(low) + 1 if lo is not None else int(low), int(high))
        if n > high:
            raise NoValue
        if 0 <= n <= 12 and rng.random() < 0.35:
            return n, NUMBER_WORDS[n]
        return n, f"{n:,}" if n > 999 and rng.random() < 0.3 else str(n)
    x = round(rng.uniform(low, high), rng.choice((0, 1, 1, 2)))
    x = min(max(x, low), high)
    return (int(x), str(int(x))) if x == int(x) else (x, str(x))


def identifier(rng: Random) -> str:
    kind = rng.random()
    if kind < 0.35:
        return str(rng.randint(1, 10 ** rng.randint(2, 8)))
    letters = "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(2, 4)))
    if kind < 0.7:
        return f"{letters.upper() if rng.random() < 0.5 else letters}-{rng.randint(1, 9999)}"
    return "".join(rng.choice("0123456789abcdef") for _ in range(rng.randint(6, 12)))


def string_phrase(
    key: str, s: Mapping[str, Any], today: datetime.date, pool: Pool, rng: Random
) -> tuple[str, str]:
    form, words = s.get("format"), {w.lower() for w in words_of(key)}
    if form == "date":
        return date_phrase(today, rng)
    if form == "time" or s.get("pattern", "").startswith("^([01][0-9]|2[0-3]):[0-5][0-9]"):
        return time_phrase(rng)
    if form == "email" or "email" in words:
        value = f"{rng.choice(NAMES)}{rng.choice(('', '.', '_', str(rng.randint(1, 99))))}@{made_up_words(rng).split()[0].lower()}.{rng.choice(('com', 'org', 'io', 'net'))}"
    elif form == "uri" or words & ADDRESSES:
        value = f"https://{made_up_words(rng).split()[0].lower()}.{rng.choice(('com', 'org', 'dev'))}/{rng.choice(TOPICS).split()[0]}"
    elif form or s.get("pattern"):
        raise NoValue
    elif words & IDENTIFIERS:
        value = identifier(rng)
    elif words & PATHS:
        value = f"{rng.choice(('/home/', '/var/', './', 'src/', 'docs/'))}{made_up_words(rng).split()[0].lower()}{rng.choice(('', '.txt', '.json', '.py', '.csv'))}"
    elif words & TEXTS:
        value = f"{rng.choice(TOPICS)} {rng.choice(('is ready', 'at noon', 'for review', 'needs work', 'please'))}"
    elif "name" in words or "user" in words:
        value = made_up_words(rng) if rng.random() < 0.6 else rng.choice(NAMES).title()
    else:
        value = rng.choice((rng.choice(TOPICS), rng.choice(pool.everything), made_up_words(rng)))
    low, high = s.get("minLength", 0), s.get("maxLength", 10_000)
    if not low <= len(value) <= high:
        raise NoValue
    return value, value if rng.random() < 0.6 else quoted(value, rng)


def quoted(value: str, rng: Random) -> str:
    left, right = rng.choice(('""', "''"))
    return f"{left}{value}{right}"


def listed(phrases: list[str], rng: Random) -> str:
    if len(phrases) == 1:
        return phrases[0]
    return ", ".join(phrases[:-1]) + rng.choice((" and ", ", ", " and ")) + phrases[-1]


def key_words(key: str) -> str:
    return " ".join(w.lower() for w in words_of(key)) or key


def plain_type(s: object) -> Mapping[str, Any]:
    """The schema with a union cut down to its first real option. Raises NoValue."""
    if not isinstance(s, dict):
        raise NoValue
    for word in ("anyOf", "oneOf"):
        if isinstance(s.get(word), list):
            for option in s[word]:
                if isinstance(option, dict) and option.get("type") != "null":
                    return plain_type(option)
            raise NoValue
    if "$ref" in s or "allOf" in s or "const" in s:
        raise NoValue
    if isinstance(s.get("type"), list):
        names = [t for t in s["type"] if t != "null"]
        return s | {"type": names[0]} if names else {}
    return s


def value_phrase(
    key: str, schema: object, today: datetime.date, pool: Pool, rng: Random, depth: int = 0
) -> tuple[Any, str]:
    """A value that the schema allows, and words that say it. Raises NoValue."""
    s = plain_type(schema)
    if isinstance(s.get("enum"), list) and s["enum"]:
        value = rng.choice(s["enum"])
        if isinstance(value, (str, int)) and not isinstance(value, bool):
            text = str(value)
            return value, text.replace("_", " ").lower() if rng.random() < 0.4 else text
        raise NoValue
    match s.get("type"):
        case "boolean":
            value = rng.random() < 0.5
            yes, no = rng.choice((("yes", "no"), ("true", "false"), ("on", "off")))
            return value, yes if value else no
        case "integer":
            return number_phrase(s, True, rng)
        case "number":
            return number_phrase(s, False, rng)
        case "string":
            return string_phrase(key, s, today, pool, rng)
        case "array":
            return array_phrase(key, s, today, pool, rng, depth)
        case "object":
            return object_phrase(s, today, pool, rng, depth)
    raise NoValue


def array_phrase(
    key: str, s: Mapping[str, Any], today: datetime.date, pool: Pool, rng: Random, depth: int
) -> tuple[Any, str]:
    low = s.get("minItems", 1)
    count = rng.randint(max(low, 1), max(low, min(s.get("maxItems", 4), 4)))
    if depth > 1 or count > 6:
        raise NoValue
    pairs = [value_phrase(key, s.get("items"), today, pool, rng, depth + 1) for _ in range(count)]
    if s.get("uniqueItems") and len({str(v) for v, _ in pairs}) < len(pairs):
        raise NoValue
    joined = "; ".join(p for _, p in pairs) if depth or isinstance(pairs[0][0], dict) else ""
    return [v for v, _ in pairs], joined or listed([p for _, p in pairs], rng)


def object_phrase(
    s: Mapping[str, Any], today: datetime.date, pool: Pool, rng: Random, depth: int
) -> tuple[Any, str]:
    properties = s.get("properties")
    if depth > 1 or not isinstance(properties, dict) or not properties:
        raise NoValue
    required = s.get("required") or []
    value, phrases = {}, []
    for key, inner in properties.items():
        if key in required or rng.random() < 0.4:
            value[key], phrase = value_phrase(key, inner, today, pool, rng, depth + 1)
            phrases.append(f"{key_words(key)} {phrase}")
    if not value or len(value) > 6:
        raise NoValue
    return value, listed(phrases, rng)
