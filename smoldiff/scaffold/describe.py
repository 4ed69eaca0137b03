"""Slots and decisions in a few words, for people."""

from __future__ import annotations

from typing import assert_never

from smoldiff.scaffold.pieces import Items, Keys, Language
from smoldiff.schema.nodes import ALL_TYPES, Boolean, Enum, Integer, Number, Opaque, String

_MAX_SHOWN = 60


def describe(language: Language) -> str:
    """What may stand in a slot: `string`, `date`, `integer 1..9`, `"a"|"b"`."""
    match language:
        case String():
            return _describe_string(language)
        case Integer(minimum=low, maximum=high):
            return "integer" + _range(low, high)
        case Number():
            return _describe_number(language)
        case Boolean():
            return "true|false"
        case Enum(texts=texts):
            return shortened("|".join(texts))
        case Opaque(types=types):
            return "any JSON" if types == ALL_TYPES else f"any {'|'.join(types)}"
        case _:
            assert_never(language)


def describe_count(items: Items) -> str:
    """How many items an array may have: `0..5`, `≥1`, `2`."""
    if items.most == items.fewest:
        return str(items.most)
    return _range(items.fewest, items.most).strip()


def describe_key_count(keys: Keys) -> str:
    """How many keys an object may have, where that is said: `≥2 keys`; else nothing."""
    words = _range(keys.min_keys or None, keys.max_keys).strip()
    return f"{words} keys" if words else ""


def shortened(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"


def _describe_string(language: String) -> str:
    words = "+".join(language.formats) or "string"
    if language.min_length or language.max_length is not None:
        words += _range(language.min_length or None, language.max_length) + " characters"
    wanted = [f"/{shortened(pattern)}/" for pattern in language.patterns]
    refused = [f"not /{shortened(pattern)}/" for pattern in language.excluded]
    return " ".join([words, *wanted, *refused])


def _describe_number(language: Number) -> str:
    limits = {
        "≥": language.minimum,
        ">": language.exclusive_minimum,
        "≤": language.maximum,
        "<": language.exclusive_maximum,
    }
    name = "number that is not whole" if language.is_fractional else "number"
    return " ".join(
        [name, *(f"{sign}{bound}" for sign, bound in limits.items() if bound is not None)]
    )


def _range(low: int | None, high: int | None) -> str:
    if low is not None and high is not None:
        return f" {low}..{high}"
    if low is not None:
        return f" ≥{low}"
    return "" if high is None else f" ≤{high}"
