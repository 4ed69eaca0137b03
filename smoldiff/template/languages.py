"""Slot languages as token automata, each built once for a tokenizer."""

from dataclasses import astuple, replace
from decimal import Decimal
from functools import lru_cache
from typing import assert_never

from smoldiff.automata.dfa import Dfa
from smoldiff.automata.errors import NoAutomaton
from smoldiff.automata.numbers import fractional, integer_language, number_language
from smoldiff.automata.operations import finite
from smoldiff.automata.strings import string_content, string_language
from smoldiff.scaffold.pieces import Language, holds_content
from smoldiff.schema.nodes import Boolean, Enum, Integer, Number, Opaque, String
from smoldiff.template.automaton import TokenAutomaton, automaton_for
from smoldiff.template.token_classes import AutomatonTooLarge
from smoldiff.template.vocabulary import Vocabulary

EXACT = 2.0**53
"""Up to here a float is the whole number that is written."""
MAX_VALUES = 2048
"""Values of an enumeration that a slot chooses from: of more, the shortest."""


def slot_automaton(language: Language, vocabulary: Vocabulary, max_tokens: int) -> TokenAutomaton:
    """What a slot of `max_tokens` positions may hold, token by token.

    Where a part of the language has no automaton (a backreference in a pattern, an awkward multiple), it is left out:
    the automaton then allows more, and the last gate judges. A language for any JSON value has none: ValueError.
    """
    try:
        return _automaton(language, vocabulary, max_tokens)
    except (NoAutomaton, AutomatonTooLarge):
        return _automaton(_without_patterns(language), vocabulary, max_tokens)


def _automaton(language: Language, vocabulary: Vocabulary, max_tokens: int) -> TokenAutomaton:
    shortest, longest = length_bounds(language)
    return automaton_for(
        content_key(language),
        lambda: slot_dfa(language),
        vocabulary,
        min_chars=shortest,
        max_chars=longest,
        max_tokens=max_tokens,
    )


def length_bounds(language: Language) -> tuple[int, int | None]:
    """The fewest and the most characters of a slot's text, None for no limit. Only strings have such bounds."""
    if isinstance(language, String):
        return language.min_length, language.max_length
    return 0, None


def _without_patterns(language: Language) -> Language:
    match language:
        case String(pointer=pointer, min_length=shortest, max_length=longest):
            return String(pointer, shortest, longest)
        case Integer(pointer=pointer, minimum=low, maximum=high):
            return Integer(pointer, low, high)
        case Number():
            return replace(language, multiple_of=None)
        case _:
            return language


def content_key(language: Language) -> str:
    """What the automaton over bytes depends on, as text. Length bounds of strings do not belong to it."""
    bare = replace(language, pointer="")
    if isinstance(bare, String):
        bare = replace(bare, min_length=0, max_length=None)
    return f"{type(bare).__name__}{astuple(bare)!r}"


@lru_cache(maxsize=1024)
def slot_dfa(language: Language) -> Dfa:
    """The texts of a slot as bytes, without length bounds. ValueError for any JSON value: no regular language."""
    match language:
        case String():
            return _string(language)
        case Enum(texts=texts):
            skip = 1 if holds_content(language) else 0
            chosen = sorted(texts, key=len)[:MAX_VALUES]
            return finite(text[skip : len(text) - skip].encode() for text in chosen)
        case Boolean():
            return finite((b"true", b"false"))
        case Integer(minimum=low, maximum=high, multiple_of=step):
            return integer_language(low, high, step)[0]
        case Number():
            numbers, _ = number_language(
                _at_least(language.minimum),
                _at_most(language.maximum),
                _at_least(language.exclusive_minimum),
                _at_most(language.exclusive_maximum),
                language.multiple_of,
            )
            return fractional(numbers) if language.is_fractional else numbers
        case Opaque():
            raise ValueError("any JSON value: not a regular language")
        case _:
            assert_never(language)


def _at_least(bound: int | float | None) -> int | float | None:
    """A lower bound that holds as it is written and as the float that other validators make of it."""
    return max(_readings(bound)) if isinstance(bound, float) and abs(bound) > EXACT else bound


def _at_most(bound: int | float | None) -> int | float | None:
    return min(_readings(bound)) if isinstance(bound, float) and abs(bound) > EXACT else bound


def _readings(bound: float) -> tuple[int, int]:
    return int(Decimal(repr(bound))), int(bound)


def _string(language: String) -> Dfa:
    if not (language.patterns or language.excluded or language.formats):
        return string_content(None)
    content, _ = string_language(
        language.patterns,
        language.excluded,
        language.formats,
        language.min_length,
        language.max_length,
    )
    return string_content(content)
