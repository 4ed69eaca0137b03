"""Texts between quotes, the languages of string schemas, and lengths."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slowness import within

from smoldiff.automata.lengths import shortest_string
from smoldiff.automata.operations import intersect, is_finite, shortest, valid_utf8
from smoldiff.automata.regex import compile_pattern
from smoldiff.automata.strings import string_content, string_language


def written(text):
    return json.dumps(text, ensure_ascii=False)[1:-1].encode()


@given(st.text(max_size=20))
def test_any_string_has_its_one_canonical_text(text):
    has_long_escape = any(ord(c) < 32 and c not in "\b\f\n\r\t" for c in text)
    assert string_content(None).matches(written(text)) == (not has_long_escape)


@pytest.mark.parametrize("text", ["\\/", "\\u0041", "\\u00e9", "\n", '"', "\\", "\x01", "\\x41"])
def test_other_texts_are_not_in_it(text):
    assert not string_content(None).matches(text.encode())


def test_samples_are_read_back_into_the_language(sample):
    for pattern in (
        r"^[\s\S]{2,5}$",
        r"^\\?\"[^a]*\n$",
        "é|\t",
        r"^\u0001[a\u001f]+$",
        r"^\u0000$",
    ):
        content = compile_pattern(pattern)
        text = string_content(content)
        for _ in range(100):
            body = sample(text, 12)
            value = json.loads(b'"' + body + b'"')
            assert content.matches(value.encode())
            assert written(value) == body


def test_long_escapes_appear_only_where_nothing_else_does():
    assert string_content(compile_pattern("^[a\\u0001]$")).matches(b"a")
    assert not string_content(compile_pattern("^[a\\u0001]$")).matches(b"\\u0001")
    assert string_content(compile_pattern("^[\\u0000\\u0001]$")).matches(b"\\u0001")
    assert not string_content(compile_pattern("^[\\u0000\\u0001]$")).matches(b"\\u0000")
    assert string_content(compile_pattern("^\\u0000$")).matches(b"\\u0000")


def test_a_string_language_joins_its_parts():
    dfa, is_exact = string_language(("^[a-z]+$", "b"), ("c", "^x"), ("hostname",))
    assert is_exact
    assert dfa.matches(b"ab")
    assert not any(map(dfa.matches, (b"a", b"abc", b"xb", b"b1")))


def test_a_part_without_an_automaton_is_left_out():
    dfa, is_exact = string_language(("^(a)\\1$", "^a+$"), (), ())
    assert not is_exact
    assert dfa.matches(b"aaa")
    assert not dfa.matches(b"b")
    assert string_language((), ("(a)\\1",), ()) == (valid_utf8(), False)


def test_lengths_that_no_string_has_leave_nothing():
    assert string_language(("^(aaa)+$",), (), (), 4, 5)[0].is_empty
    assert not string_language(("^(aaa)+$",), (), (), 4, 6)[0].is_empty


LENGTHS = [
    "^(aaa|bb\\n)*$",
    "é+",
    "^(ab|c)*d$",
    "^a{3,7}$",
    "😀|^[^a]*$",
    "^\\n*$",
    "^(..é)*$",
    "^$",
]


def with_length(content, least, most):
    """The strings whose number of characters is within the bounds, as a product of automata."""
    return intersect(content, compile_pattern(f"^[^]{{{least},{'' if most is None else most}}}$"))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(LENGTHS), st.integers(0, 9), st.none() | st.integers(0, 9))
def test_shortest_string_agrees_with_the_product(pattern, least, most):
    content = compile_pattern(pattern)
    found = (
        shortest(string_content(with_length(content, least, most)))
        if most is None or most >= least
        else None
    )
    assert shortest_string(string_content(content), least, most) == (
        None if found is None else len(found)
    )


@pytest.mark.parametrize(
    "pattern", [*LENGTHS, "^.*$", "^([^]{7}|[a-z]{5})*$", "^(\\n{97}|\\t{89})*$"]
)
def test_long_strings_are_measured_soon(pattern):
    dfa = string_content(compile_pattern(pattern))
    has_longest = is_finite(dfa)

    def measure():
        found = shortest_string(dfa, 100_000, None)
        assert (found is None) == has_longest
        assert found is None or found >= 100_000

    within(2, measure)
