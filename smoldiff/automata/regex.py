"""Patterns as JSON Schema uses them, as automata over the UTF-8 bytes of the whole string."""

from __future__ import annotations

from functools import lru_cache

from smoldiff.automata.alphabet import alphabet_of
from smoldiff.automata.dfa import Dfa
from smoldiff.automata.looks import determinise
from smoldiff.automata.parser import Reading, parse
from smoldiff.automata.subset import Budget, Search
from smoldiff.automata.symbols import trim
from smoldiff.automata.utf8 import spell

MAX_STATES = 8_192
"""States over bytes, of 1 KiB each."""


@lru_cache(maxsize=32)
def compile_pattern(
    text: str, max_states: int = MAX_STATES, reading: Reading = Reading.ECMA
) -> Dfa:
    """The strings in which a pattern matches somewhere, as their UTF-8 bytes.

    Raises BrokenPattern, Unsupported, or TooComplex past `max_states`.
    """
    tree = parse(text, reading)
    alphabet = alphabet_of(tree)
    found = determinise(tree, alphabet, Search(), max_states, Budget())
    return spell(trim(found), alphabet, max_states)
