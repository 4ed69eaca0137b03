"""`repair`: what is valid and sure stays, the rest is written anew, and the call is valid."""

import json
import math

import pytest
import torch
from fakes import byte_tokenizer, hash_model
from jsonschema import Draft202012Validator

import smoldiff
from smoldiff.decode.foreign import read_call
from smoldiff.decode.keeping import keep_sure
from smoldiff.errors import RequestError, UnsatisfiableSchema
from smoldiff.head.model import DiffusionHead
from smoldiff.schema.source import read_source

MODEL = hash_model(byte_tokenizer())
ITEM = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "count": {"type": "integer", "minimum": 1, "maximum": 9},
    },
    "required": ["name", "count"],
}
ORDER = {
    "name": "order",
    "description": "Order things",
    "parameters": {
        "type": "object",
        "properties": {
            "city": {"type": "string", "maxLength": 12},
            "day": {"enum": ["today", "tomorrow"]},
            "items": {"type": "array", "items": {"$ref": "#/$defs/item"}, "maxItems": 3},
            "pay": {
                "anyOf": [
                    {
                        "type": "object",
                        "properties": {
                            "by": {"const": "card"},
                            "digits": {"pattern": "^[0-9]{4}$"},
                        },
                        "required": ["by", "digits"],
                    },
                    {"type": "null"},
                ]
            },
        },
        "required": ["city", "day"],
        "$defs": {"item": ITEM},
    },
}
PING = {"name": "ping", "parameters": {"type": "object", "properties": {}}}
TOOLS = [ORDER, PING]
RIGHT = {"city": "Oslo", "day": "today"}


def repair(arguments, name="order", messages="hi", schema=TOOLS, **options):
    call = {"name": name, "arguments": arguments}
    result = smoldiff.repair(MODEL, call, schema, messages, **options)
    if schema is TOOLS:
        tool = next(tool for tool in TOOLS if tool["name"] == result.name)
        Draft202012Validator(tool["parameters"]).validate(result.arguments)
    return result


def value_at(value, pointer):
    for step in pointer.split("/")[1:]:
        value = value[int(step)] if isinstance(value, list) else value[step]
    return value


def test_a_valid_call_comes_back_unchanged_without_a_pass():
    passes = MODEL.base.num_passes
    result = repair(RIGHT, messages=None)
    assert (result.name, result.arguments) == ("order", RIGHT)
    assert result.kept == ("/city", "/day")
    assert MODEL.base.num_passes == passes
    assert result.stats.base_passes == 0
    assert result.calls[0].text == json.dumps(RIGHT)
    assert MODEL.vocabulary.bytes_of(result.token_ids).decode() == result.text


@pytest.mark.parametrize(
    "arguments",
    [
        {"city": "Oslo", "day": "yesterday"},
        {"city": "Oslo"},
        {"city": "Oslo", "day": 3, "items": "none"},
        {"city": "Oslo", "day": "noon", "items": [{"name": "pear", "count": 2}, {"name": "fig"}]},
        {"city": "Oslo", "day": "noon", "items": [{"name": 1, "count": 2}] * 5},
        {"city": "Oslo", "day": "noon", "pay": {"by": "card", "digits": "12"}},
        {"city": "Oslo", "day": math.nan},
        {"city": "Oslo", "day": "noon", "colour": "red"},
    ],
)
def test_what_is_valid_stays_and_the_call_is_valid(arguments):
    result = repair(arguments)
    assert result.name == "order"
    assert "/city" in result.kept
    assert "/day" not in result.kept
    for pointer in result.kept:
        assert value_at(result.arguments, pointer) == value_at(arguments, pointer)


def test_what_stays_of_a_list_is_told_by_position():
    items = [{"name": "pear", "count": 2}, {"name": "a plum tree", "count": 3}]
    result = repair({**RIGHT, "items": items})
    assert result.kept == ("/city", "/day", "/items/0/name", "/items/0/count", "/items/1/count")
    assert len(result.arguments["items"]) == 2
    assert result.arguments["items"][0] == items[0]
    assert result.arguments["items"][1]["count"] == 3


def test_what_stays_chooses_the_option_of_a_union():
    result = repair({**RIGHT, "pay": {"by": "card", "digits": "12x4"}})
    assert result.kept == ("/city", "/day", "/pay/by")
    assert result.arguments["pay"]["by"] == "card"


def test_an_older_draft_keeps_items_too():
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$ref": "#/definitions/all",
        "definitions": {"all": {"type": "array", "items": {"type": "integer", "maximum": 99}}},
    }
    result = repair([1, "two", 3], schema=schema)
    assert result.kept == ("/0", "/2")
    assert len(result.arguments) == 3
    assert (result.arguments[0], result.arguments[2]) == (1, 3)
    assert result.arguments[1] <= 99


def test_unknown_keys_are_dropped_without_a_pass():
    result = repair(
        {**RIGHT, "colour": "red", "items": [{"name": "fig", "count": 1, "size": 3}]}, messages=None
    )
    assert result.arguments == {**RIGHT, "items": [{"name": "fig", "count": 1}]}


def test_keys_that_the_schema_allows_stay():
    schema = {"type": "object", "properties": {"a": {"const": 1}}, "additionalProperties": True}
    assert repair({"b": [2], "a": 1}, schema=schema, messages=None).arguments == {"b": [2], "a": 1}


@pytest.mark.parametrize("by_argument", [True, False])
def test_a_doubtful_value_is_written_anew(by_argument):
    confidence = {"/city": 0.2, "/day": 0.9}
    if by_argument:
        result = repair(RIGHT, confidence=confidence)
    else:
        call = smoldiff.ToolCall("order", RIGHT, json.dumps(RIGHT), confidence)
        result = smoldiff.repair(MODEL, call, TOOLS, "hi")
    assert result.kept == ("/day",)
    assert result.confidence["/day"] == 0.9
    assert result.arguments["city"] != "Oslo"  # the base of fixed logits does not know it


def test_keep_says_how_sure_is_enough():
    confidence = {"/city": 0.2, "/day": 0.9}
    assert repair(RIGHT, confidence=confidence, keep=0.1, messages=None).arguments == RIGHT
    assert repair(RIGHT, confidence=confidence, keep=1.0).kept == ()


def test_confidence_of_a_container_speaks_for_what_is_in_it():
    arguments = {**RIGHT, "items": [{"name": "pear", "count": 2}]}
    result = repair(arguments, confidence={"/items": 0.1, "/items/0/count": 0.8})
    assert result.kept == ("/city", "/day", "/items/0/count")


def test_an_answer_of_this_library_is_repaired_by_its_own_confidence():
    answer = smoldiff.generate_call(MODEL, TOOLS, "hi", tool_choice="order")
    result = smoldiff.repair(MODEL, answer, TOOLS, "hi", keep=1.0)
    assert set(result.kept) == {at for at, chance in answer.confidence.items() if chance == 1}
    assert result.arguments == answer.arguments  # the same base says the same again


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ('{"city": "Oslo", "day": "tomo', ("/city",)),
        ('{"city": "Oslo", "day": "today"', ("/city", "/day")),
        ("{'city': 'Oslo', 'day': 'today',}", ("/city", "/day")),
        ('```json\n{"city": "Oslo" "day": "noon"}\n```', ("/city",)),
        ('{"city": "Os', ()),
        ("", ()),
    ],
)
def test_broken_json_is_read_as_far_as_it_goes(text, kept):
    call = {"id": "call_0", "type": "function", "function": {"name": "order", "arguments": text}}
    result = smoldiff.repair(MODEL, call, TOOLS, "hi")
    assert result.kept == kept
    assert set(result.arguments) >= {"city", "day"}


def test_a_call_of_an_unknown_tool_is_chosen_anew():
    result = repair(RIGHT, name="oder")
    assert result.kept == ()
    assert result.name in ("order", "ping")
    assert len(result.calls) == 1


def test_the_only_tool_needs_no_right_name():
    call = {"name": None, "arguments": RIGHT}
    assert smoldiff.repair(MODEL, call, ORDER).arguments == RIGHT


def test_a_bare_schema_is_repaired():
    schema = {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 4}
    result = repair(["a", "c", "b"], schema=schema)
    assert result.name is None
    assert result.kept == ("/0", "/2")
    assert result.arguments[::2] == ["a", "b"]


def test_values_that_contradict_each_other_go_from_the_least_sure_on():
    schema = {
        "type": "object",
        "properties": {name: {"type": "integer", "maximum": 9, "minimum": 0} for name in "abc"},
        "required": ["a", "b", "c"],
        "additionalProperties": False,
        "if": {"properties": {"a": {"const": 1}}},
        "then": {"properties": {"b": {"const": 2}}, "required": ["missing"]},
    }
    confidence = {"/a": 0.7, "/b": 0.9, "/c": 0.8}
    result = repair({"a": 1, "b": 2, "c": 3}, schema=schema, confidence=confidence)
    assert result.arguments["a"] != 1
    assert result.kept == ("/b", "/c")


def test_given_values_go_before_those_of_the_call():
    result = repair(RIGHT, given={"/city": "Bergen"})
    assert result.arguments == {"city": "Bergen", "day": "today"} | result.arguments
    assert result.kept == ("/day",)


@pytest.mark.parametrize("arguments", [{"city": "Oslo", "day": "noon"}, {}, [], None, 3, "[["])
def test_scores_that_mean_nothing_repair_too(arguments):
    scorer = smoldiff.RandomScores(0)
    result = repair(arguments, messages=None, mode="diffusion", scorer=scorer)
    if isinstance(arguments, dict) and "city" in arguments:
        assert result.arguments["city"] == "Oslo"


def test_a_head_repairs_in_mode_diffusion():
    model = smoldiff.load(head="none")
    torch.manual_seed(0)
    model = model.with_head(DiffusionHead.for_base(model, num_layers=1))
    call = {"name": "order", "arguments": {"city": "Oslo", "day": "noon"}}
    result = smoldiff.repair(model, call, TOOLS, "today please", mode="diffusion", steps=1)
    assert result.arguments["city"] == "Oslo"
    assert result.kept == ("/city",)
    assert result.stats.base_passes == 0


def test_messages_are_asked_for_only_where_something_is_written():
    with pytest.raises(RequestError, match="messages= to write /day anew"):
        repair({"city": "Oslo", "day": "noon"}, messages=None)
    with pytest.raises(RequestError, match="messages= to write the whole call anew"):
        repair(RIGHT, name="oder", messages=None)


@pytest.mark.parametrize(
    ("call", "options", "problem"),
    [
        ("order()", {}, "expected a ToolCall"),
        ({"name": "order"}, {}, "expected a ToolCall"),
        ({"name": "order", "arguments": "no call at all"}, {}, "hold no JSON"),
        ({"name": "order", "arguments": {"city": object()}}, {}, "no JSON value"),
        ({"name": "order", "arguments": "[" * 100_000}, {}, "nested"),
        ({"name": "order", "arguments": RIGHT}, {"keep": 2}, "keep=2"),
        ({"name": "order", "arguments": RIGHT}, {"confidence": {"city": 1}}, "JSON pointer"),
        ({"name": "order", "arguments": RIGHT}, {"confidence": {"/city": 1.5}}, "0..1"),
        ({"name": "order", "arguments": RIGHT}, {"tool_choice": "ping"}, "leave it out"),
        ({"name": "order", "arguments": RIGHT}, {"tools": []}, "unknown option"),
    ],
)
def test_what_cannot_be_repaired_is_said(call, options, problem):
    with pytest.raises(RequestError) as caught:
        smoldiff.repair(MODEL, call, TOOLS, "hi", **options)
    assert problem in str(caught.value)


def test_an_answer_with_several_calls_is_repaired_call_by_call():
    one = smoldiff.ToolCall("ping", {}, "{}")
    answer = smoldiff.CallResult((one, one), None, "", (), "tool_calls", smoldiff.Stats())
    with pytest.raises(RequestError, match="2 calls"):
        smoldiff.repair(MODEL, answer, TOOLS, "hi")


def test_a_schema_that_nothing_satisfies_is_said():
    with pytest.raises(UnsatisfiableSchema):
        repair(3, schema={"type": "string", "enum": [1]})


def test_half_a_surrogate_pair_does_not_stay():
    keeping = keep_sure(
        read_call({"name": "order", "arguments": {"city": "\ud800"}}, None),
        read_source(ORDER).tools[0].parameters,
        0.5,
    )
    assert keeping.kept == {}
