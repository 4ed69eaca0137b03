"""Patterns against Python's regex module and outlines-core, and the limits that hostile ones meet."""

from contextlib import suppress

import outlines_core
import pytest
import regex
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from slowness import within

from smoldiff.automata.errors import BrokenPattern, NoAutomaton, TooComplex, Unsupported
from smoldiff.automata.parser import Reading
from smoldiff.automata.regex import compile_pattern

ATOMS = st.sampled_from(
    [
        "a",
        "b",
        "é",
        "😀",
        ".",
        r"\d",
        r"\w",
        r"\s",
        "[ab]",
        "[^a]",
        "[^é-ü]",
        r"[\d_-]",
        "-",
        r"\.",
        "",
    ]
)
ASSERTIONS = st.sampled_from(["^", "$", r"\b", r"\B"])
GREEDY = st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "{2,}"])
COUNTS = GREEDY | st.sampled_from(["*?", "+?"])


def grow(inner):
    group = st.sampled_from(["(", "(?:", "(?=", "(?!"])
    return st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda pair: f"(?:{pair[0]}|{pair[1]})"),
        st.tuples(inner, COUNTS).map(lambda pair: f"(?:{pair[0]}){pair[1]}"),
        st.tuples(group, inner).map(lambda pair: f"{pair[0]}{pair[1]})"),
    )


def grow_plainly(inner):
    return st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda pair: f"(?:{pair[0]}|{pair[1]})"),
        st.tuples(inner, GREEDY).map(lambda pair: f"(?:{pair[0]}){pair[1]}"),
    )


PORTABLE = st.sampled_from(["a", "b", "[ab]", "[1_-]", "[a-z-]", r"\."])
PATTERNS = st.recursive(ATOMS | ASSERTIONS, grow, max_leaves=8)
TEXTS = st.text("ab1_ -.é😀\n", max_size=8)


def matches(pattern, text, **options):
    return compile_pattern(pattern, **options).matches(text.encode())


@settings(max_examples=400, deadline=None)
@given(PATTERNS, st.lists(TEXTS, min_size=1, max_size=12))
def test_search_agrees_with_the_regex_module(pattern, texts):
    try:
        dfa = compile_pattern(pattern)
    except Unsupported:
        assume(False)
    reference = regex.compile(pattern.replace("$", r"\Z"), regex.ASCII | regex.V0)
    for text in texts:
        assert dfa.matches(text.encode()) == bool(reference.search(text)), (pattern, text)


@settings(max_examples=100, deadline=None)
@given(st.recursive(PORTABLE, grow_plainly, max_leaves=6), TEXTS)
def test_what_outlines_core_accepts_is_accepted(pattern, text):
    # Not the reverse: it takes the first alternative that matches, so (?:b*|a) does not hold "a" there.
    vocabulary = outlines_core.Vocabulary(256, {bytes([b]): [b] for b in range(256)})
    index = outlines_core.Index(pattern, vocabulary)
    state = index.get_initial_state()
    for byte in text.encode():
        state = None if state is None else index.get_next_state(state, byte)
    accepted = state is not None and index.is_final_state(state)
    assert matches(f"^(?:{pattern})$", text) or not accepted
    assert matches(f"^(?:{pattern})$", text) == bool(regex.fullmatch(pattern, text))


@pytest.mark.parametrize(
    ("pattern", "accepted", "refused"),
    [
        ("b", ["b", "abc"], ["", "a"]),
        ("^a|b$", ["ax", "xb"], ["xax", "bx"]),
        ("a$", ["a"], ["a\n"]),
        (r"^\d$", ["7"], ["\u0667"]),
        (r"^\w\W$", ["a-", "aé"], ["éa"]),
        (r"^\s$", ["\ufeff", "\u2003", "\t"], ["\x1c", "\x85"]),
        ("^.$", ["a", "é", "😀", "\x85"], ["\n", "\r", "\u2028", ""]),
        ("^[^]$", ["\n", "😀"], [""]),
        ("[]", [], ["", "a"]),
        ("^{]}$", ["{]}"], []),
        ("^a{,x}$", ["a{,x}"], []),
        (r"^\cJ\x41\u0042\u{43}\/\-$", ["\nABC/-"], []),
        (r"^\uD83D\uDE00$", ["😀"], []),
        (r"^[\u{1F600}-\u{1F64F}]$", ["😀"], ["a"]),
        (r"^(?<year>\d{4})(?P<z>Z)?$", ["1999", "1999Z"], ["199"]),
        (r"^\p{Lu}\p{Letter}\P{L}$", ["Éa1"], ["éa1", "Éaa"]),
        (r"\Aab\Z", ["ab"], ["aab", "ab\n"]),
        ("(?i)^strasse é$", ["STRASSE É"], ["strase é"]),
        ("^(?i:a)b$", ["Ab"], ["AB"]),
        ("^(?!foo)(?=.*\\d)[a-z0-9]+$", ["bar1"], ["foo1", "bar"]),
        ("(?!^a)^.$", ["b"], ["a"]),
        ("^((?!ab).)*$", ["ba", ""], ["xab"]),
        ("^[a-z-]+(?<!-)$", ["a-b"], ["a-"]),
        ("(?<=a)b", ["ab"], ["b", "cb"]),
        (r"\bfoo\b", ["a foo.", "foo"], ["food", "afoo"]),
        ("$^", [""], ["a"]),
        ("[a-\\d]", ["-", "5", "a"], ["b"]),
        ("[\\b]", ["\b"], ["b"]),
    ],
)
def test_ecma_semantics(pattern, accepted, refused):
    assert [text for text in accepted if not matches(pattern, text)] == []
    assert [text for text in refused if matches(pattern, text)] == []


def test_a_reading_keeps_what_both_or_either_engine_accepts():
    assert not matches(r"^\W$", "é", reading=Reading.BOTH)
    assert matches(r"^\w$", "é", reading=Reading.EITHER)
    assert not matches(r"^[^\w]$", "é", reading=Reading.BOTH)
    assert not matches(r"^(?!\d)", "\u0667", reading=Reading.BOTH)
    assert matches(r"a$", "a\n", reading=Reading.EITHER)


@settings(max_examples=200, deadline=None)
@given(PATTERNS, st.lists(TEXTS, min_size=1, max_size=8))
def test_what_both_readings_accept_passes_in_python_and_the_reverse(pattern, texts):
    # A `$` before more of a pattern: Python's may stand before a last line break, which what follows then reads.
    assume("$" not in pattern[:-1])
    reference = regex.compile(pattern.replace(r"\s", "[ \\n\\t]"), regex.V0)
    try:
        both = compile_pattern(pattern, reading=Reading.BOTH)
        either = compile_pattern(pattern, reading=Reading.EITHER)
    except NoAutomaton:
        assume(False)
    for text in texts:
        found = bool(reference.search(text))
        assert found or not both.matches(text.encode()), (pattern, text)
        assert not found or either.matches(text.encode()), (pattern, text)


@pytest.mark.parametrize(
    "pattern",
    ["(", ")", "[", "a**", "*", "a{2,1}", "[b-a]", "\\", r"\u12", r"\q", "(?<1>a)", r"\u{110000}"],
)
def test_a_broken_pattern_says_where(pattern):
    with pytest.raises(BrokenPattern, match="at character") as caught:
        compile_pattern(pattern)
    assert 0 <= caught.value.position <= len(pattern)


@pytest.mark.parametrize(
    "pattern", [r"(a)\1", r"\k<a>", "(?>a)", "a++", "(?m)^a$", r"\p{Script=Greek}"]
)
def test_what_no_automaton_can_say_is_unsupported(pattern):
    with pytest.raises(Unsupported):
        compile_pattern(pattern)


HOSTILE = {
    "exponential": r"(.|\n)*a.{30}",
    "nested counts": "((a{1,100}){1,100}){1,100}",
    "long": "a" * 100_000,
    "many characters": "".join(map(chr, range(0x4E00, 0x4E00 + 20_000))),
    "nested groups": "(" * 1000 + ")" * 1000,
    "optional parts": "(a?){1000}" * 9,
    "lookaheads": "".join(f"(?=.*{chr(c)})" for c in range(97, 123)),
    "nested lookaheads": "(?=" * 40 + "a" + ")" * 40,
    "gaps": ".*".join(map(chr, range(0x100, 0x800))),
    "huge count": "a{99999999999}",
    "counted gaps": "^(([^<>()]+)|(.+))@((x{0,500}y){0,30})$",
}


@pytest.mark.parametrize("pattern", HOSTILE.values(), ids=HOSTILE)
def test_hostile_patterns_end_soon(pattern):
    def compile_it():
        with suppress(TooComplex):
            assert len(compile_pattern(pattern).accepts) <= 4096

    within(2, compile_it)


@settings(max_examples=200, deadline=None)
@given(st.text("ab()[]{}^$\\|*+?-,.:!=<>12duxpP", max_size=20))
def test_no_other_error_escapes(pattern):
    with suppress(NoAutomaton):
        compile_pattern(pattern)
