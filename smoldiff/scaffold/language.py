"""Reading a slot's text: whether it can be, or can become, a text of the slot's language."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from typing import assert_never

from smoldiff.scaffold.lexer import (
    NO_MATCH,
    Span,
    content_span,
    decoded,
    number_span,
    value_span,
    word_span,
)
from smoldiff.scaffold.pieces import Language, holds_content
from smoldiff.scaffold.style import SPACED
from smoldiff.schema.matching import PatternError, matches
from smoldiff.schema.nodes import Boolean, Enum, Integer, Number, Opaque, String

_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)")
_CUT_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)?")
_MAX_ESCAPED = 6  # characters that one character takes as an escape
_MAX_DIGITS = 400  # longer than any bound: a float ends at 309 digits

# Wide on purpose: they only tell one branch of a union from another.
_FORMATS = {
    "date": r"\d{4}-\d\d-\d\d",
    "time": r"\d\d:\d\d:\d\d.*",
    "date-time": r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d.*",
    "duration": r"P.*",
    "uuid": r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
    "ipv4": r"\d{1,3}(?:\.\d{1,3}){3}",
    "ipv6": r"[0-9a-fA-F:.]+",
    "email": r"[^@\s]+@[^@\s]+",
    "uri": r"[A-Za-z][A-Za-z0-9+.\-]*:.*",
}


def read_slot(language: Language, text: str, pos: int, is_exact: bool) -> Span:
    """Where the slot's text from `pos` on ends, and whether it is known to end there; -1 if it cannot be one.

    Without `is_exact`, patterns, formats and multiples are not looked at.
    """
    match language:
        case String():
            return _read_string(language, text, pos, is_exact)
        case Enum():
            return (
                _read_content(language, text, pos)
                if holds_content(language)
                else _read_value(language, text, pos)
            )
        case Integer():
            return _read_integer(language, text, pos, is_exact)
        case Number():
            return _read_number(language, text, pos, is_exact)
        case Boolean():
            return word_span(text, pos, ("true", "false"))
        case Opaque():
            return value_span(text, pos)
        case _:
            assert_never(language)


def _read_string(language: String, text: str, pos: int, is_exact: bool) -> Span:
    end, is_done = span = content_span(text, pos)
    if end < 0:
        return NO_MATCH
    most, fewest = language.max_length, language.min_length
    # An escape is longer than its character, so only a text that is too long as it stands needs decoding.
    if most is not None and end - pos > most and len(decoded(text, pos, end)) > most:
        return NO_MATCH
    if is_done and fewest and len(decoded(text, pos, end)) < fewest:
        return NO_MATCH
    if is_done and is_exact and not _is_shaped(language, text, pos, end):
        return NO_MATCH
    return span


def _is_shaped(language: String, text: str, pos: int, end: int) -> bool:
    if not language.patterns and not language.formats:
        return True
    content = decoded(text, pos, end)
    shapes = [_FORMATS[name] for name in language.formats if name in _FORMATS]
    if not all(re.fullmatch(shape, content) for shape in shapes):
        return False
    return all(_may_match(pattern, content) for pattern in language.patterns)


def _may_match(pattern: str, content: str) -> bool:
    try:
        return matches(pattern, content)
    except PatternError:
        return True  # the grammar engine and the last gate judge those


def _read_content(language: Enum, text: str, pos: int) -> Span:
    end, is_done = span = content_span(text, pos)
    if end < 0:
        return NO_MATCH
    quoted = (
        text[pos - 1 : end + 1]
        if is_done and text[pos - 1] == '"'
        else '"' + text[pos:end] + '"' * is_done
    )
    if "\\" in quoted:
        quoted = SPACED.dumps(decoded(text, pos, end).rstrip("\ud800"))
        quoted = quoted if is_done else quoted[:-1]
    if is_done:
        return span if quoted in language.texts else NO_MATCH
    return span if any(one.startswith(quoted) for one in language.texts) else NO_MATCH


def _read_value(language: Enum, text: str, pos: int) -> Span:
    end, is_done = value_span(text, pos)
    if end < 0:
        return NO_MATCH
    written = text[pos:end]
    if not is_done:
        return (end, False) if any(one.startswith(written) for one in language.texts) else NO_MATCH
    return (
        (end, True) if written in language.texts or _is_other_form(language, written) else NO_MATCH
    )


def _is_other_form(language: Enum, written: str) -> bool:
    """Whether the text is one of the values in other spacing or with other escapes."""
    if len(written) > _MAX_ESCAPED * max(map(len, language.texts)):
        return False  # nor is it parsed: it may be nested more deeply than json.loads bears
    return SPACED.dumps(json.loads(written)) in language.texts


def _read_integer(language: Integer, text: str, pos: int, is_exact: bool) -> Span:
    end, is_done = span = number_span(text, pos)
    if end < 0 or not (_INTEGER if is_done else _CUT_INTEGER).fullmatch(text, pos, end):
        return NO_MATCH
    if language.minimum is None and language.maximum is None and language.multiple_of is None:
        return span
    digits = text[pos:end]
    if len(digits) > _MAX_DIGITS:
        is_free = language.minimum is None if digits[0] == "-" else language.maximum is None
        return span if is_free else NO_MATCH
    return (
        span
        if digits in ("", "-") or _is_integer_within(language, int(digits), is_done, is_exact)
        else NO_MATCH
    )


def _is_integer_within(language: Integer, value: int, is_done: bool, is_exact: bool) -> bool:
    """A number that breaks off can only grow away from zero."""
    low, high, step = language.minimum, language.maximum, language.multiple_of
    if high is not None and value > high and (is_done or value > 0):
        return False
    if low is not None and value < low and (is_done or value < 0):
        return False
    return not (is_done and is_exact and step is not None and Fraction(value) % Fraction(str(step)))


def _read_number(language: Number, text: str, pos: int, is_exact: bool) -> Span:
    end, is_done = span = number_span(text, pos)
    if end < 0 or not is_done:
        return span
    value = float(text[pos:end])
    low, high = language.minimum, language.maximum
    above, below = language.exclusive_minimum, language.exclusive_maximum
    is_within = (
        (low is None or value >= low)
        and (high is None or value <= high)
        and (above is None or value > above)
        and (below is None or value < below)
    )
    step = language.multiple_of if is_exact else None
    return span if is_within and (step is None or _is_multiple(text[pos:end], step)) else NO_MATCH


def _is_multiple(digits: str, step: float) -> bool:
    if "e" in digits or "E" in digits or len(digits) > _MAX_DIGITS:
        return True  # an exponent can make the exact quotient as long as it likes
    return Fraction(digits) % Fraction(str(step)) == 0
