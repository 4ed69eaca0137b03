"""Languages of strings: their decoded content, and the JSON text between their quotes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from smoldiff.automata.dfa import DEAD, Dfa
from smoldiff.automata.errors import NoAutomaton
from smoldiff.automata.formats import format_language
from smoldiff.automata.lengths import shortest_string
from smoldiff.automata.operations import (
    EMPTY,
    difference,
    intersect,
    minimise,
    reachable,
    trim,
    valid_utf8,
)
from smoldiff.automata.parser import Reading
from smoldiff.automata.regex import MAX_STATES, compile_pattern

_SHORT = {ord(letter): code for letter, code in zip('"\\bfnrt', b'"\\\b\f\n\r\t', strict=True)}
_LONG = tuple(code for code in range(0x20) if code not in _SHORT.values())


@lru_cache(maxsize=32)
def string_language(
    patterns: tuple[str, ...],
    excluded: tuple[str, ...],
    formats: tuple[str, ...],
    min_length: int = 0,
    max_length: int | None = None,
    max_states: int = MAX_STATES,
) -> tuple[Dfa, bool]:
    """The decoded strings that match all patterns and formats and none of `excluded`, and whether that is all.

    False: a part has no automaton and was left out, so the language is larger. Patterns are read so that both
    ECMA-262 and Python's re agree. The lengths, in characters, are not part of the automaton; only a language without
    any string of such a length comes back empty.
    """
    found, is_exact = valid_utf8(), True
    for narrow in _narrowings(patterns, excluded, formats, max_states):
        try:
            found = narrow(found)
        except NoAutomaton:
            is_exact = False
    if found is not valid_utf8():
        found = minimise(found)
    if (min_length, max_length) != (0, None):
        text = string_content(found)
        try:
            if shortest_string(text, min_length, max_length) is None:
                return EMPTY, True
        except NoAutomaton:
            is_exact = False
    return found, is_exact


def _narrowings(
    patterns: tuple[str, ...], excluded: tuple[str, ...], formats: tuple[str, ...], max_states: int
) -> Iterator[Callable[[Dfa], Dfa]]:
    """Each restriction as a step from one language to a smaller one."""

    def keep(pattern: str) -> Callable[[Dfa], Dfa]:
        return lambda dfa: _meet(
            dfa, compile_pattern(pattern, max_states, Reading.BOTH), max_states
        )

    def drop(pattern: str) -> Callable[[Dfa], Dfa]:
        return lambda dfa: difference(
            dfa, compile_pattern(pattern, max_states, Reading.EITHER), max_states
        )

    for name in formats:
        valid = format_language(name)
        if valid is not None:
            yield lambda dfa, valid=valid: _meet(dfa, valid, max_states)  # type: ignore[misc]
    yield from map(keep, patterns)
    yield from map(drop, excluded)


def _meet(a: Dfa, b: Dfa, max_states: int) -> Dfa:
    return b if a is valid_utf8() else intersect(a, b, max_states)


def string_content(content: Dfa | None) -> Dfa:
    """The JSON text between the quotes of the strings whose decoded content is in `content`; None: all strings.

    Each string has one text, the one of `json.dumps(ensure_ascii=False)`. Control characters without a short escape
    appear only in languages that have no other strings, and U+0000 only in those that need even that.
    """
    if content is None:
        return _any_string()
    if content.is_empty:
        return content
    for codes in ((), _LONG[1:], _LONG):
        text = trim(_escaped(content, codes))
        if not text.is_empty:
            return text
    return EMPTY


@lru_cache(maxsize=1)
def _any_string() -> Dfa:
    return string_content(valid_utf8())


def _escaped(content: Dfa, long_codes: tuple[int, ...]) -> Dfa:
    """The texts, with `\\u00..` escapes for `long_codes` alone. May have states that lead nowhere."""
    table = content.table.copy()
    table[:, :0x20] = DEAD
    table[:, [0x22, 0x5C]] = DEAD
    after_backslash = np.full_like(table, DEAD)
    for letter, code in _SHORT.items():
        after_backslash[:, letter] = content.table[:, code]
    rows = [table, after_backslash]
    behind: list[NDArray[np.int32]] = []
    num_states = len(table)
    for sixteen in (0, 1) if long_codes else ():
        digits = np.full_like(table, DEAD)
        for code in long_codes:
            if code >> 4 == sixteen:
                digits[:, ord(f"{code & 15:x}")] = content.table[:, code]
        behind.append(_numbered(digits, len(rows) * num_states))
        rows.append(digits)
    for letters in ("01", "0", "0") if long_codes else ():
        ways = np.full_like(table, DEAD)
        for char, targets in zip(letters, behind, strict=True):
            ways[:, ord(char)] = targets
        behind = [_numbered(ways, len(rows) * num_states)]
        rows.append(ways)
    if long_codes:
        after_backslash[:, ord("u")] = behind[0]
    table[:, 0x5C] = _numbered(after_backslash, num_states)
    accepts = np.zeros(len(rows) * num_states, np.bool_)
    accepts[:num_states] = content.accepts
    return reachable(Dfa(np.concatenate(rows), accepts))


def _numbered(rows: NDArray[np.int32], start: int) -> NDArray[np.int32]:
    """The number of each row when they are counted from `start`; DEAD for a row without a way on."""
    numbers = np.arange(start, start + len(rows), dtype=np.int32)
    return np.where((rows != DEAD).any(1), numbers, DEAD).astype(np.int32)
