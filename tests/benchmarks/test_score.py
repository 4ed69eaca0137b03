import json

import pytest
from calls.data import Example
from calls.parse import Frame, parse_calls
from calls.score import Score, is_exact, is_valid, score
from calls.values import json_equal

FRAME = Frame("<tool_call>", "</tool_call>", "name", "arguments")
TOOL = {
    "name": "book",
    "parameters": {
        "type": "object",
        "properties": {
            "day": {"type": "string", "format": "date"},
            "seats": {"type": "integer"},
            "note": {"type": "string"},
        },
        "required": ["day"],
        "additionalProperties": False,
    },
}
CALL = {"name": "book", "arguments": {"day": "2024-05-01", "seats": 2}}


def framed(*calls):
    return "\n".join(f"<tool_call>\n{json.dumps(call)}\n</tool_call>" for call in calls)


def example(*calls, accept=None, source="SGD"):
    return Example("id", source, [TOOL], [], calls, accept)


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        (1, 1.0, True),
        (1, True, False),
        (0, False, False),
        ([1, True], [1, 1], False),
        ({"a": 1, "b": [None]}, {"b": [None], "a": 1}, True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ("1", 1, False),
        ({}, [], False),
    ],
)
def test_json_values_are_compared_as_json(one, other, is_same):
    assert json_equal(one, other) is is_same


def test_calls_are_read_back_from_their_frames():
    tricky = {"name": "book", "arguments": {"day": "x", "note": "}\n</tool_call> \u00e9"}}
    assert parse_calls(framed(CALL, tricky), FRAME) == [CALL, tricky]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        framed(CALL)[:-3],
        "so: " + framed(CALL),
        framed(CALL) + " done",
        framed({"name": "book"}),
        framed({**CALL, "more": 1}),
        framed([1]),
        framed(CALL).replace("2}", "NaN}"),
    ],
)
def test_anything_but_framed_calls_is_no_call(text):
    assert parse_calls(text, FRAME) is None


def test_exact_wants_all_calls_in_order():
    other = {"name": "book", "arguments": {"day": "2024-05-02"}}
    assert is_exact([CALL, other], [CALL, other])
    assert not is_exact([other, CALL], [CALL, other])
    assert not is_exact([CALL], [CALL, other])
    assert not is_exact([CALL, CALL], [CALL])


@pytest.mark.parametrize(
    ("call", "is_good"),
    [
        (CALL, True),
        ({"name": "book", "arguments": {"seats": 2}}, False),
        ({"name": "book", "arguments": {"day": "today"}}, False),
        ({"name": "book", "arguments": {"day": "2024-05-01", "x": 1}}, False),
        ({"name": "cook", "arguments": {"day": "2024-05-01"}}, False),
    ],
)
def test_valid_means_a_known_tool_and_its_schema(call, is_good):
    assert is_valid(call, [TOOL]) is is_good


def test_an_answer_without_text_scores_nothing():
    verdict = score(None, example(CALL), FRAME)
    assert verdict == Score(False, False, False, None)


def test_a_right_name_with_wrong_arguments_is_a_right_name_only():
    wrong = {"name": "book", "arguments": {"day": "2024-05-09"}}
    verdict = score(framed(wrong), example(CALL), FRAME)
    assert (verdict.is_exact, verdict.is_name_right, verdict.is_valid) == (False, True, True)


def test_an_unreadable_answer_to_an_example_with_accept_counts_against_it():
    accept = [{"book": {"day": ["2024-05-01"]}}]
    assert score("?", example(CALL, accept=accept), FRAME).is_accepted is False
