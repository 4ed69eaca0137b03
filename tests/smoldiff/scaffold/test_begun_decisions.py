"""Choices inside a value that a prefix has begun: what is passed is decided, the rest is still reported and asked."""

import pytest
import torch

from smoldiff.decode.decisions import Decisions, fewest
from smoldiff.decode.scores import Ask
from smoldiff.scaffold.compile import compile_schema
from smoldiff.scaffold.cost import Costs
from smoldiff.scaffold.cursor import Choices
from smoldiff.scaffold.pieces import Items, Keys, Repeat

TRIP = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "date": {"type": "string"},
        "tags": {"type": "array", "items": {"type": "integer"}, "maxItems": 4},
        "unit": {"enum": ["C", "F"]},
    },
    "required": ["city"],
    "additionalProperties": False,
}
TOOLS = [{"name": "trip", "parameters": TRIP}]
CALL = '<tool_call>\n{"name": "trip", "arguments": {"city": "a", "unit": "C"}}\n</tool_call>'


def found(schema, prefix, max_calls=1, **choices):
    """The decisions behind a prefix as (pointer, kind, how much of it was read)."""
    scaffold = compile_schema(schema, max_calls=max_calls)
    decisions = scaffold.resume(prefix, Choices(**choices)).decisions
    return [(one.pointer, type(one.piece), one.num_read) for one in decisions]


def asked(schema, prefix, max_calls=1):
    """The questions behind a prefix as (what, key, number of options)."""
    remainder = compile_schema(schema, max_calls=max_calls).resume(prefix)
    decisions = Decisions(None, Costs())
    questions = [one for found in remainder.decisions for one in decisions.questions(found)]
    return [(one.ask, one.name, one.num_options) for one in questions]


@pytest.mark.parametrize(
    ("prefix", "decisions"),
    [
        ("", [("", Keys, 0)]),
        ("{", [("", Keys, 0)]),
        ('{"', [("", Keys, 1)]),
        ('{"city": "Par', [("", Keys, 1)]),
        ('{"city": "a"', [("", Keys, 1)]),
        ('{"city": "a", "date": "', [("", Keys, 2)]),
        ('{"city": "a", "tags": [', [("", Keys, 3), ("/tags", Items, 0)]),
        ('{"city": "a", "tags": [1', [("", Keys, 3), ("/tags", Items, 1)]),
        ('{"city": "a", "tags": [1, ', [("", Keys, 3), ("/tags", Items, 2)]),
        ('{"city": "a", "tags": [1, 2, 3, 4', [("", Keys, 3)]),
        ('{"city": "a", "tags": [1]', [("", Keys, 3)]),
        ('{"city": "a", "unit": "', []),
        ('{"city": "a"}', []),
    ],
)
def test_a_value_that_is_begun_still_has_the_choices_behind_the_prefix(prefix, decisions):
    assert found(TRIP, prefix) == decisions


@pytest.mark.parametrize(
    ("prefix", "names"),
    [
        ("{", ["date", "tags", "unit"]),
        ('{"city": "a"', ["date", "tags", "unit"]),
        ('{"city": "a", "date": "', ["tags", "unit"]),
        ('{"city": "a", "tags": []', ["unit"]),
        ('{"city": "a", "unit": "C"', []),
    ],
)
def test_only_keys_that_may_still_come_are_asked_for(prefix, names):
    assert asked(TRIP, prefix) == [(Ask.KEY, name, 2) for name in names]


@pytest.mark.parametrize(
    ("prefix", "num_options"),
    [("[", 3), ("[1", 3), ("[1, 2", 3), ("[1, 2, 3", 2), ("[1, 2, 3, 4", 0)],
)
def test_an_array_is_asked_for_the_items_that_may_still_come(prefix, num_options):
    schema = {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 4}
    assert asked(schema, prefix) == ([(Ask.LENGTH, "", num_options)] if num_options else [])


def test_an_array_of_a_fixed_length_leaves_no_choice():
    schema = {"type": "array", "items": {"type": "integer"}, "minItems": 3, "maxItems": 3}
    assert [found(schema, prefix) for prefix in ("", "[", "[1", "[1, 2, ")] == [[], [], [], []]


def test_an_array_has_at_least_the_items_that_are_begun():
    schema = {"type": "array", "items": {"type": "integer"}, "minItems": 1}
    (decision,) = compile_schema(schema).resume("[1, 2, ").decisions
    assert fewest(decision) == 3


@pytest.mark.parametrize(
    ("prefix", "num_read"),
    [("", 0), ("<tool_", 1), (CALL[:40], 1), (CALL, 1), (CALL + "\n", 2), (CALL + "\n" + CALL, 2)],
)
def test_a_call_that_is_begun_may_be_followed_by_others(prefix, num_read):
    assert found(TOOLS, prefix, max_calls=3)[0] == ("", Repeat, num_read)


def test_the_last_call_that_may_be_made_leaves_no_choice():
    assert ("", Repeat, 2) not in found(TOOLS, CALL + "\n<tool", max_calls=2)


def test_calls_are_asked_for_as_far_as_the_limit_goes():
    more = [one for one in asked(TOOLS, CALL + "\n" + CALL, max_calls=4) if one[0] is Ask.LENGTH]
    assert more == [(Ask.LENGTH, "", 3)]


NESTED = {
    "type": "object",
    "properties": {
        "a": {"type": "object", "properties": {"x": TRIP, "y": {"type": "integer"}}},
        "b": {"type": "integer"},
    },
    "additionalProperties": False,
}


def test_decisions_come_from_the_outside_in():
    prefix = '{"a": {"x": {"city": "a", "tags": [1'
    pointers = [pointer for pointer, _, _ in found(NESTED, prefix)]
    assert pointers == ["", "/a", "/a/x", "/a/x/tags"]


def test_an_object_that_is_begun_comes_before_what_follows_in_it():
    keys = {"": frozenset({"a"}), "/a": frozenset({"x"})}
    decisions = found(NESTED, '{"a": {', keys=keys)
    assert [pointer for pointer, _, _ in decisions] == ["", "/a", "/a/x"]


def test_decisions_of_options_that_did_not_read_are_forgotten():
    union = {"anyOf": [TRIP, {"type": "object", "properties": {"z": TRIP}, "required": ["z"]}]}
    assert found(union, '{"z": {"city": "') == [("", Keys, 1), ("/z", Keys, 1)]


def test_a_scorer_lengthens_what_is_begun():
    class Most:
        """Always the last option."""

        def decide(self, template, questions):
            return [torch.arange(float(one.num_options)) for one in questions]

    scaffold = compile_schema(TRIP)
    prefix = '{"city": "a", "tags": [1'
    decisions = Decisions(Most(), Costs())
    remainder = scaffold.resume(prefix)
    while decisions.settle(remainder, room=32):
        remainder = scaffold.resume(prefix, decisions.choices())
    assert remainder.text(lambda gap: "1" if not gap.written else "") == ', 1, 1, 1], "unit": "1"}'
