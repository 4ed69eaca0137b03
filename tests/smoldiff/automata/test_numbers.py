"""Number languages against exact arithmetic, and against a validator that divides floats."""

import json
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from smoldiff.automata.numbers import exact, fractional, integer_language, number_language

SMALL = st.none() | st.integers(-150, 150)
STEPS = st.sampled_from([None, 1, 2, 3, 7, 10, 12, 100, 250, 0.5, 2.5])
DECIMALS = st.none() | st.integers(-2000, 2000).map(lambda k: k / 100) | st.integers(-20, 20)


def decimal_text(hundredths):
    whole, rest = divmod(abs(hundredths), 100)
    body = f"{whole}.{rest:02d}".rstrip("0").rstrip(".")
    return "-" + body if hundredths < 0 else body


@settings(max_examples=80, deadline=None)
@given(SMALL, SMALL, STEPS)
def test_integers_are_exactly_those_within_bounds(low, high, step):
    dfa, is_exact = integer_language(low, high, step, max_digits=3)
    assert is_exact
    for value in range(-999, 1000):
        is_valid = (low is None or value >= low) and (high is None or value <= high)
        is_valid = is_valid and (step is None or value % exact(step) == 0)
        assert dfa.matches(str(value).encode()) == is_valid


@settings(max_examples=60, deadline=None)
@given(DECIMALS, DECIMALS, DECIMALS, DECIMALS)
def test_decimals_are_exactly_those_within_bounds(low, high, above, below):
    dfa, is_exact = number_language(low, high, above, below, max_digits=2, max_decimals=2)
    assert is_exact
    for k in range(-3000, 3000, 7):
        value = Fraction(k, 100)
        is_valid = (
            (low is None or value >= exact(low))
            and (high is None or value <= exact(high))
            and (above is None or value > exact(above))
            and (below is None or value < exact(below))
        )
        assert dfa.matches(decimal_text(k).encode()) == is_valid


@settings(max_examples=60, deadline=None)
@given(DECIMALS, DECIMALS)
def test_fractional_decimals_are_those_that_are_not_whole(low, high):
    numbers, _ = number_language(low, high, max_digits=2, max_decimals=2)
    values = [k for k in range(-9999, 9999) if numbers.matches(decimal_text(k).encode())]
    found = fractional(numbers)
    has_any = any(k % 100 for k in values)
    for k in values[::7] if has_any else values:
        assert found.matches(decimal_text(k).encode()) == (bool(k % 100) or not has_any)


@settings(max_examples=200, deadline=None)
@given(st.integers(1 - 10**20, 10**20 - 1), st.integers(0, 10**8 - 1))
def test_what_is_fractional_is_so_as_a_float_too(whole, behind):
    text = f"{whole}.{behind:08d}".rstrip("0").rstrip(".")
    numbers, _ = number_language(-(10**20), 10**20, max_decimals=8)
    assert numbers.matches(text.encode())
    is_found = fractional(numbers).matches(text.encode())
    assert not is_found or not float(text).is_integer()
    is_short = len(text.strip("-0.").replace(".", "")) <= 15
    assert is_found == ("." in text and is_short)


def test_where_no_number_is_fractional_all_stay():
    numbers, _ = number_language(10**15)
    assert fractional(numbers).matches(str(10**15).encode())
    evens, _ = number_language(multiple_of=2)
    assert fractional(evens).matches(b"4")


SCHEMAS = [
    {"minimum": -(2**63), "maximum": 2**63 - 1},
    {"minimum": 10**30},
    {"maximum": -(10**30), "multipleOf": 7},
    {"multipleOf": 86_400},
    {"multipleOf": 0.01},
    {"multipleOf": 0.1, "minimum": -1, "maximum": 1},
    {"multipleOf": 1e-8},
    {"multipleOf": 3.3},
    {"multipleOf": 1e300},
    {"minimum": 1e-7, "maximum": 2e-7},
    {"exclusiveMinimum": 0, "exclusiveMaximum": 1e-300},
    {"exclusiveMinimum": 0.1, "exclusiveMaximum": 0.4, "multipleOf": 0.05},
    {"minimum": 10**20, "multipleOf": 2.5},
    {"minimum": 1e300},
    {"minimum": -0.5, "exclusiveMaximum": 0},
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=json.dumps)
def test_samples_are_valid(schema, sample):
    names = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
    dfa, _ = number_language(*map(schema.get, names))
    for _ in range(200):
        text = sample(dfa, 12).decode()
        assert Draft202012Validator(schema).is_valid(json.loads(text)), text


@pytest.mark.parametrize(
    "text", ["-0", "01", "1.", ".5", "1.0", "1.50", "1e5", "+1", "-", "0.0", "-0.0"]
)
def test_no_other_writing_is_accepted(text):
    assert not number_language()[0].matches(text.encode())


def test_bounds_nobody_follows_are_told():
    dfa, is_exact = integer_language(10**5000)
    assert not is_exact
    assert not dfa.is_empty
    assert integer_language(5, 3)[0].is_empty
    assert not number_language(multiple_of=0.01)[1]


def test_a_multiple_that_floats_deny_stands_where_there_is_no_other():
    dfa, is_exact = number_language(0.11, 0.19, multiple_of=0.05)
    assert dfa.matches(b"0.15")
    assert not is_exact


def test_zero_has_one_writing_and_no_sign():
    dfa, _ = number_language(0, 0)
    assert dfa.matches(b"0")
    assert not dfa.matches(b"-0")
