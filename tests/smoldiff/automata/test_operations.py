"""Set operations on automata against the same operations on sets of strings."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smoldiff.automata.dfa import DEAD, Dfa
from smoldiff.automata.errors import TooComplex
from smoldiff.automata.operations import (
    EMPTY,
    complement,
    difference,
    finite,
    intersect,
    is_finite,
    minimise,
    shortest,
    union,
    valid_utf8,
)
from smoldiff.automata.regex import compile_pattern

PATTERNS = st.sampled_from(
    [
        "a",
        "^a*$",
        "^(ab|b)*$",
        "^[^b]+$",
        "é",
        "^.{2}$",
        "^(?!a)",
        "[]",
        "b$",
        "^(a|b|é)*a(a|b)$",
        "^$",
    ]
)
TEXTS = st.text("abé", max_size=6)
WORDS = st.sets(st.binary(max_size=5), max_size=12)


def has_live_states_only(dfa):
    live = dfa.accepts.copy()
    for _ in range(len(live)):
        live |= np.append(live, False)[dfa.table].any(1)
    return bool(live.all())


@settings(max_examples=150, deadline=None)
@given(PATTERNS, PATTERNS, st.lists(TEXTS, max_size=20))
def test_operations_mean_what_they_mean_on_sets(left, right, texts):
    a, b = compile_pattern(left), compile_pattern(right)
    results = [intersect(a, b), union(a, b), difference(a, b), complement(a), minimise(a)]
    for text in map(str.encode, texts):
        x, y = a.matches(text), b.matches(text)
        assert [r.matches(text) for r in results] == [x and y, x or y, x and not y, not x, x]
    assert all(map(has_live_states_only, results))


@given(WORDS, st.binary(max_size=5))
def test_finite_holds_its_words_alone_in_the_fewest_states(words, other):
    dfa = finite(words)
    assert all(map(dfa.matches, words))
    assert dfa.matches(other) == (other in words)
    assert len(minimise(dfa).accepts) == len(dfa.accepts)
    assert is_finite(dfa)
    assert shortest(dfa) == min(words, key=lambda word: (len(word), word), default=None)


def test_a_language_without_strings_has_no_states():
    a, b = compile_pattern("^a$"), compile_pattern("^b$")
    assert intersect(a, b).is_empty
    assert difference(a, a).is_empty
    assert complement(valid_utf8()).is_empty
    assert minimise(EMPTY).is_empty
    assert finite(()).is_empty
    assert union(EMPTY, a).matches(b"a")
    assert not is_finite(compile_pattern("a"))


def test_complement_keeps_to_valid_utf8():
    other = complement(compile_pattern("^a$"))
    assert other.matches("é😀".encode())
    assert not other.matches(b"\xff")
    assert not other.matches("\ud800".encode("utf-8", "surrogatepass"))


def test_minimise_merges_what_a_cycle_repeats():
    table = np.full((6, 256), DEAD, np.int32)
    table[np.arange(6), ord("a")] = (np.arange(6) + 1) % 6
    dfa = minimise(Dfa(table, np.arange(6) % 2 == 0))
    assert len(dfa.accepts) == 2
    assert dfa.matches(b"aaaa")
    assert not dfa.matches(b"aaa")


def test_a_product_past_the_limit_is_refused():
    with pytest.raises(TooComplex):
        intersect(compile_pattern("^(aaaaa)*$"), compile_pattern("^(aaaaaaa)*$"), max_states=30)
    with pytest.raises(TooComplex):
        finite((str(i).encode() * 10 for i in range(1000)), max_states=1000)


def test_the_shortest_string_is_the_first_of_its_length():
    assert shortest(compile_pattern("^[b-z]{3}a|^[c-d]{2}$")) == b"cc"
