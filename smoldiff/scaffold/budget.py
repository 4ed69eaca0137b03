"""How many token positions a slot gets. A longer value is still possible: it is then written token by token."""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from smoldiff.scaffold.pieces import Language, holds_content
from smoldiff.schema.nodes import Boolean, Enum, Integer, Number, Opaque, String

CountTokens = Callable[[str], int]

MAX_STRING_TOKENS = 32
"""Positions of a string of which nothing more is known."""
MAX_SLOT_TOKENS = 512
"""Most positions of any slot. A text that needs more can only be written token by token."""
MAX_COUNTED = 64
"""Values of an enumeration whose tokens are counted: the longest."""
OPAQUE_TOKENS = 32

# One typical long value of each format; a quarter is added, because other values may fall into more tokens.
_SAMPLES = {
    "date": "2026-11-28",
    "time": "23:59:59+02:00",
    "date-time": "2026-11-28T23:59:59.123+02:00",
    "duration": "P1Y2M10DT12H30M45S",
    "uuid": "3f2b8c1e-9d47-4a6b-b0e5-7c81d2f4a963",
    "ipv4": "192.168.127.254",
    "ipv6": "2001:0db8:85a3:0000:0000:8a2e:0370:7334",
    "email": "firstname.lastname@department.example.com",
    "hostname": "very.long.name.department.example.com",
    "uri": "https://www.example.com/some/longer/path/to/page.html?key=value&other=1#part",
}
_UNBOUNDED_INTEGER = "-1234567890"
_UNBOUNDED_NUMBER = "-12345.678901"
_DECIMALS = ".0625"


def budget(language: Language, count_tokens: CountTokens) -> int:
    """The positions to reserve for a slot, 1 to MAX_SLOT_TOKENS. `count_tokens` counts the tokens of a text."""
    match language:
        case Enum():
            skip = 1 if holds_content(language) else 0
            texts = [text[skip : len(text) - skip] for text in language.texts]
        case Boolean():
            texts = ["true", "false"]
        case Integer(minimum=low, maximum=high):
            texts = [_UNBOUNDED_INTEGER] if low is None or high is None else [str(low), str(high)]
        case Number():
            texts = [_number_sample(language)]
        case Opaque():
            return OPAQUE_TOKENS
        case String():
            return _string_budget(language, count_tokens)
        case _:
            assert_never(language)
    longest = sorted(texts, key=len)[-MAX_COUNTED:]
    return min(MAX_SLOT_TOKENS, max(1, *(count_tokens(text) for text in longest)))


def _number_sample(language: Number) -> str:
    bounds = (
        language.minimum,
        language.maximum,
        language.exclusive_minimum,
        language.exclusive_maximum,
    )
    longest = max((str(bound) for bound in bounds if bound is not None), key=len, default="")
    return longest + _DECIMALS if len(longest) > len(_UNBOUNDED_NUMBER) else _UNBOUNDED_NUMBER


def _string_budget(language: String, count_tokens: CountTokens) -> int:
    samples = [_SAMPLES[name] for name in language.formats if name in _SAMPLES]
    usual = min((_with_room(count_tokens(one)) for one in samples), default=MAX_STRING_TOKENS)
    needed = max(usual, language.min_length)
    most = MAX_SLOT_TOKENS if language.max_length is None else language.max_length
    return max(1, min(needed, most, MAX_SLOT_TOKENS))


def _with_room(num_tokens: int) -> int:
    return num_tokens + (num_tokens + 3) // 4
