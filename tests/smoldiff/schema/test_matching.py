"""Patterns are read as ECMA 262 says, Python's own too, and no search is without end."""

import pytest
from slowness import within

from smoldiff.schema.matching import PatternError, matches


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("b", "abc"),
        ("", ""),
        ("^$", ""),
        (r"^\W$", "é"),
        (r"^\D$", "٣"),
        (r"^\s$", "\ufeff"),
        (r"^[\S]$", "\x1c"),
        ("^.$", "😀"),
        ("^.$", "\x85"),
        (r"^\ud83d\ude00\u{1F600}\x41\cA\0$", "😀😀A\x01\0"),
        (r"^\p{L}\p{Script=Greek}\P{Lu}[\p{N}]$", "éβa7"),
        (r"(?<year>\d{4})-\k<year>", "2024-2024"),
        (r"(?<=a+)b", "aab"),
        (r"^(?:(a)|b)\1$", "b"),
        (r"^\1(a)$", "a"),
        ("^[^]$", "\n"),
        ("^[[a&&b]$", "["),
        (r"^[\w-.]+$", "a-."),
        (r"^[\b\-]$", "\b"),
        (r"^\_\-\@\/{]}$", "_-@/{]}"),
        ("^a{2}{$", "aa{"),
        ("(?i:A)", "a"),
        (r"\bé", "aé"),
    ],
)
def test_what_a_pattern_finds(pattern, text):
    assert matches(pattern, text)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("a$", "a\n"),
        ("^b", "a\nb"),
        ("^.$", "\n"),
        ("^.$", "\u2028"),
        (r"\d", "٣"),
        (r"\w", "é"),
        (r"\bé", " é"),
        ("[]", "a"),
        ("[[:alpha:]]", "a"),
        (r"^\d{3}$", "1234"),
    ],
)
def test_what_a_pattern_does_not_find(pattern, text):
    assert not matches(pattern, text)


@pytest.mark.parametrize(
    ("pattern", "text"), [("(?i)abc", "ABC"), (r"\Aa\Z", "a"), ("(?P<n>a)(?P=n)", "aa"), ("a{,2}b", "aab")]
)  # fmt: skip
def test_what_only_python_reads_is_read_as_python_does(pattern, text):
    assert matches(pattern, text)


@pytest.mark.parametrize("pattern", ["(", "a**", r"\p{Nothing}", "[z-a]", "a|*", r"\8", "(?"])
def test_what_nobody_reads_is_an_error(pattern):
    with pytest.raises(PatternError, match="cannot be read"):
        matches(pattern, "a")


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("a{4294967294}", "longer than 50000 steps"),
        ("(((a{100}){100}){100}){100}", "longer than 50000 steps"),
        ("(?i)a{4294967294}", "longer than 50000 steps"),
        ("(" * 5000 + ")" * 5000, "nested too deeply"),
        ("a" * 100_000, "longer than 50000 steps"),
    ],
    ids=["repeat", "nested repeats", "Python repeat", "groups", "length"],
)
def test_what_would_take_too_much_to_prepare_is_an_error(pattern, problem):
    def prepare():
        with pytest.raises(PatternError, match=problem) as caught:
            matches(pattern, "a")
        assert len(str(caught.value)) < 300

    within(1, prepare)


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("^(a+)+$", "a" * 100_000 + "b", False),
        ("^(a|aa)+$", "a" * 100 + "b", False),
        ("(x+x+)+y", "x" * 5000, False),
        ("(x+x+)+y", "x" * 5000 + "y", True),
        ("(.*?,){30}P", "12,34," * 50, False),
    ],
    ids=str.split("plus either twice twice-found lists"),
)
def test_a_catastrophic_pattern_is_judged_all_the_same(pattern, text, expected):
    def judge():
        assert all(matches(pattern, text) == expected for _ in range(20))

    within(2, judge)


def test_a_slow_pattern_that_has_no_automaton_is_an_error():
    with pytest.raises(PatternError, match="takes too long on 5000 characters"):
        matches(r"(x+x+)+(y)\2", "x" * 5000)
