"""Sets of Unicode scalar values as sorted inclusive ranges, and the named sets of ECMA-262 and of Python's re."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

Charset = tuple[tuple[int, int], ...]
"""Disjoint inclusive ranges in ascending order, none touching the next, no surrogates."""

LAST = sys.maxunicode
SCALARS: Charset = ((0, 0xD7FF), (0xE000, LAST))
NOTHING: Charset = ()


def normal(ranges: Iterable[tuple[int, int]]) -> Charset:
    """The ranges merged and sorted. Surrogates must already be out."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return tuple(merged)


def between(low: int, high: int) -> Charset:
    """The scalar values from `low` to `high`: surrogates are left out."""
    clipped = ((max(low, a), min(high, b)) for a, b in SCALARS)
    return tuple((a, b) for a, b in clipped if a <= b)


@lru_cache(maxsize=4096)
def single(code: int) -> Charset:
    """One scalar value; empty for a surrogate."""
    return between(code, code)


def union(*charsets: Charset) -> Charset:
    return normal(r for charset in charsets for r in charset)


def complement(charset: Charset) -> Charset:
    """The scalar values that are not in the set."""
    kept: list[tuple[int, int]] = []
    start = 0
    for low, high in charset:
        kept += between(start, low - 1)
        start = high + 1
    return normal([*kept, *between(start, LAST)])


def intersection(a: Charset, b: Charset) -> Charset:
    return complement(union(complement(a), complement(b)))


def _python_set(escape: str) -> Charset:
    """What an escape stands for in Python's re, as Python itself finds it (about 30 ms)."""
    found = re.finditer(f"{escape}+", "".join(map(chr, range(LAST + 1))))
    return normal(r for match in found for r in between(match.start(), match.end() - 1))


DIGITS: Charset = ((0x30, 0x39),)
WORD: Charset = ((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A))
LINE_ENDS: Charset = ((0x0A, 0x0A), (0x0D, 0x0D), (0x2028, 0x2029))
_SPACE_OF_BOTH: Charset = (
    *((0x09, 0x0D), (0x20, 0x20), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A)),
    *((0x2028, 0x2029), (0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000)),
)
SPACE: Charset = (*_SPACE_OF_BOTH, (0xFEFF, 0xFEFF))
PYTHON_SPACE: Charset = normal([*_SPACE_OF_BOTH, (0x1C, 0x1F), (0x85, 0x85)])


@lru_cache(maxsize=1)
def python_digits() -> Charset:
    return _python_set(r"\d")


@lru_cache(maxsize=1)
def python_word() -> Charset:
    return _python_set(r"\w")


@lru_cache(maxsize=1)
def categories() -> dict[str, Charset]:
    """Unicode's general categories by short name, the one-letter groups among them."""
    ranges: dict[str, list[tuple[int, int]]] = {}
    for low, high in SCALARS:
        start, last = low, unicodedata.category(chr(low))
        for code in range(low + 1, high + 2):
            category = "" if code > high else unicodedata.category(chr(code))
            if category != last:
                ranges.setdefault(last, []).append((start, code - 1))
                start, last = code, category
    sets = {name: normal(found) for name, found in ranges.items()}
    groups = {name[0] for name in sets}
    return sets | {g: union(*(s for name, s in sets.items() if name[0] == g)) for g in groups}


LONG_CATEGORY_NAMES = {
    "Letter": "L", "Uppercase_Letter": "Lu", "Lowercase_Letter": "Ll", "Titlecase_Letter": "Lt",
    "Modifier_Letter": "Lm", "Other_Letter": "Lo", "Mark": "M", "Combining_Mark": "M",
    "Nonspacing_Mark": "Mn", "Spacing_Mark": "Mc", "Enclosing_Mark": "Me", "Number": "N",
    "Decimal_Number": "Nd", "digit": "Nd", "Letter_Number": "Nl", "Other_Number": "No",
    "Punctuation": "P", "punct": "P", "Connector_Punctuation": "Pc", "Dash_Punctuation": "Pd",
    "Open_Punctuation": "Ps", "Close_Punctuation": "Pe", "Initial_Punctuation": "Pi",
    "Final_Punctuation": "Pf", "Other_Punctuation": "Po", "Symbol": "S", "Math_Symbol": "Sm",
    "Currency_Symbol": "Sc", "Modifier_Symbol": "Sk", "Other_Symbol": "So", "Separator": "Z",
    "Space_Separator": "Zs", "Line_Separator": "Zl", "Paragraph_Separator": "Zp", "Other": "C",
    "Control": "Cc", "cntrl": "Cc", "Format": "Cf", "Private_Use": "Co", "Unassigned": "Cn",
}  # fmt: skip


def unicode_property(expression: str) -> Charset | None:
    r"""The set behind `\p{expression}`: general categories, ASCII and Any; None for what is not known."""
    key, _, value = expression.rpartition("=")
    if key not in ("", "General_Category", "gc"):
        return None
    if not key and value in ("Any", "ASCII"):
        return SCALARS if value == "Any" else ((0, 0x7F),)
    return categories().get(LONG_CATEGORY_NAMES.get(value, value))


@lru_cache(maxsize=1)
def _case_variants() -> tuple[tuple[int, tuple[int, ...]], ...]:
    pairs = []
    for code in range(0x10000):
        char = chr(code)
        variants = {v for v in (char.lower(), char.upper()) if v != char and len(v) == 1}
        # ECMA-262's Canonicalize: a character outside ASCII never stands for one inside.
        same_side = tuple(sorted(ord(v) for v in variants if (ord(v) < 128) == (code < 128)))
        if same_side:
            pairs.append((code, same_side))
    return tuple(pairs)


@lru_cache(maxsize=1024)
def ignoring_case(charset: Charset) -> Charset:
    """The set with the other case of each of its letters (simple case mapping)."""
    extra = [
        (variant, variant)
        for code, variants in _case_variants()
        if any(low <= code <= high for low, high in charset)
        for variant in variants
    ]
    return normal([*charset, *extra])
