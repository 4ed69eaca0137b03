"""Where JSON texts end, also when the text breaks off inside them."""

from __future__ import annotations

import json
import re

# Possessive: a long run of escapes must not pile up backtracking points.
_CONTENT = re.compile(r'[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+')
_CUT_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?")
_NUMBER_RUN = re.compile(r"[-+.0-9eE]*+")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_CUT_NUMBER = re.compile(r"-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*|(?:\.[0-9]+)?[eE][-+]?[0-9]*)?)?")
_SPACE = re.compile(r"[ \t\n\r]*+")

NO_MATCH = (-1, False)
Span = tuple[int, bool]  # where it ends (-1: not at all), and whether it is known to end there


def content_span(text: str, pos: int) -> Span:
    """The content of a string that opened before `pos`; done when a closing quote follows."""
    end = _whole_content(text, pos)
    if end == len(text):
        return end, False
    if text[end] == '"':
        return end, True
    return (len(text), False) if _CUT_ESCAPE.fullmatch(text, end) else NO_MATCH


def decoded(text: str, pos: int, end: int) -> str:
    """The characters that a string's content stands for; an escape that breaks off stands for none."""
    content = text[pos:end]
    if "\\" not in content:
        return content
    characters: str = json.loads(f'"{text[pos : min(end, _whole_content(text, pos))]}"')
    return characters


def number_span(text: str, pos: int) -> Span:
    """A number; done when something follows it."""
    end = _end(_NUMBER_RUN, text, pos)
    if end < len(text):
        return (end, True) if _NUMBER.fullmatch(text, pos, end) else NO_MATCH
    return (end, False) if _CUT_NUMBER.fullmatch(text, pos, end) else NO_MATCH


def word_span(text: str, pos: int, words: tuple[str, ...]) -> Span:
    """One of a few fixed words; done as soon as it is whole."""
    for word in words:
        if text.startswith(word, pos):
            return pos + len(word), True
    is_cut = any(word.startswith(text[pos : pos + len(word)]) for word in words)
    return (len(text), False) if is_cut and pos < len(text) else NO_MATCH


def value_span(text: str, pos: int) -> Span:
    """Any JSON value, with any whitespace inside; without recursion, so that depth costs nothing."""
    closers: list[str] = []
    expected = "value"
    while True:
        pos = _end(_SPACE, text, pos) if closers else pos
        if pos == len(text):
            return pos, False
        char = text[pos]
        if expected == "comma" and char == ",":
            pos, expected = pos + 1, "key" if closers[-1] == "}" else "value"
        elif expected in ("comma", "first key", "first value") and char == closers[-1]:
            closers.pop()
            pos, expected = pos + 1, "comma"
        elif expected == "colon" and char == ":":
            pos, expected = pos + 1, "value"
        elif expected in ("value", "first value") and char in "[{":
            closers.append("]" if char == "[" else "}")
            pos, expected = pos + 1, "first value" if char == "[" else "first key"
        else:
            pos, is_done = _atom_span(text, pos, expected)
            if not is_done:
                return pos, False
            expected = "colon" if expected in ("key", "first key") else "comma"
        if expected == "comma" and not closers:
            return pos, True


def _atom_span(text: str, pos: int, expected: str) -> Span:
    if expected in ("comma", "colon"):
        return NO_MATCH
    if text[pos] == '"':
        end, is_done = content_span(text, pos + 1)
        return (end + 1, True) if is_done else (end, False)
    if expected in ("key", "first key"):
        return NO_MATCH
    if text[pos] in "-0123456789":
        return number_span(text, pos)
    return word_span(text, pos, ("true", "false", "null"))


def _whole_content(text: str, pos: int) -> int:
    return _end(_CONTENT, text, pos)


def _end(pattern: re.Pattern[str], text: str, pos: int) -> int:
    found = pattern.match(text, pos)
    assert found is not None  # each of these patterns matches the empty text
    return found.end()
