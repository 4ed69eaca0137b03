"""Whether a schema's pattern is found in a text, the way ECMA 262 reads it, and never without end."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from functools import lru_cache
from math import prod

import regex

from smoldiff.automata.dfa import Dfa
from smoldiff.automata.errors import NoAutomaton
from smoldiff.automata.regex import compile_pattern
from smoldiff.schema.ecma import BrokenPattern, translate

MAX_SEARCH_S = 0.25
"""Seconds that one search may take before an automaton decides."""
MAX_STEPS = 50_000
"""Characters and sets of a pattern with its least repetitions written out, as the `regex` module does."""

_LEAST = re.compile(r"\{([0-9]+)")


class PatternError(ValueError):
    """A pattern by which nothing can be judged: unreadable, or too slow on this text. `pattern` and `problem` say more."""

    def __init__(self, pattern: str, problem: str) -> None:
        self.pattern = pattern
        self.problem = problem
        super().__init__(f"the pattern {_short(pattern)!r} {problem}")


def matches(pattern: str, text: str) -> bool:
    """Whether the pattern is found anywhere in the text.

    It is read as ECMA 262 reads it; only a pattern that is none is read as Python's `re` would. Where the search takes
    longer than MAX_SEARCH_S, an automaton decides. Raises PatternError where neither can.
    """
    return _matcher(pattern).matches(text)


@dataclass(slots=True)
class _Matcher:
    """`automaton` stands in for `search` once that was too slow: some patterns need exponential time."""

    pattern: str
    search: regex.Pattern[str]
    automaton: Dfa | None = None

    def matches(self, text: str) -> bool:
        if self.automaton is None:
            try:
                return self.search.search(text, timeout=MAX_SEARCH_S) is not None
            except (TimeoutError, MemoryError):
                self.automaton = self._build(f"takes too long on {len(text)} characters")
        return self.automaton.matches(text.encode(errors="surrogatepass"))

    def _build(self, problem: str) -> Dfa:
        try:
            return compile_pattern(self.pattern)
        except NoAutomaton:
            raise PatternError(self.pattern, problem) from None


@lru_cache(maxsize=1024)
def _matcher(pattern: str) -> _Matcher:
    text, num_steps = _readable(pattern)
    if num_steps > MAX_STEPS:
        raise PatternError(pattern, f"is longer than {MAX_STEPS} steps")
    try:
        return _Matcher(pattern, regex.compile(text, regex.V0))
    except (regex.error, OverflowError) as problem:
        raise PatternError(pattern, f"cannot be used: {problem}") from None
    except RecursionError:
        raise PatternError(pattern, "is nested too deeply") from None


def _readable(pattern: str) -> tuple[str, int]:
    """What the `regex` module shall read, and an upper bound of its steps."""
    try:
        translated = translate(pattern)
    except BrokenPattern as problem:
        _check_python(pattern, str(problem))
        return pattern, len(pattern) * prod(
            max(1, int(least[:9])) for least in _LEAST.findall(pattern)
        )
    return translated.text, translated.num_steps


def _check_python(pattern: str, problem: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # a schema's author cannot heed what Python plans for its syntax
        try:
            re.compile(pattern)
        except (re.error, OverflowError, RecursionError):
            raise PatternError(pattern, f"cannot be read: {problem}") from None


def _short(pattern: str) -> str:
    return pattern if len(pattern) <= 80 else pattern[:77] + "..."
