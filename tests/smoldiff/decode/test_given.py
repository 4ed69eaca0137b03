"""Arguments that the caller fixes."""

import pytest

from smoldiff.decode.gate import read_value
from smoldiff.decode.given import narrow
from smoldiff.errors import (
    InvalidCall,
    InvalidGiven,
    InvalidSchema,
    UnresolvableRef,
    UnsupportedSchema,
)
from smoldiff.schema.source import read_source


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


def of(**properties):
    return {"type": "object", "properties": properties}


def narrowed(schema, given):
    return narrow(read_source(schema), given)


def test_a_given_value_is_a_required_constant_in_both_schemas_of_a_tool():
    (tool,) = narrowed([{"name": "t", "parameters": of(a={}, b={})}], {"/a": 3}).tools
    as_given = {**of(a={"const": 3}, b={}), "required": ["a"]}
    assert tool.judging_parameters == as_given
    assert tool.parameters == {**as_given, "additionalProperties": False}


def test_the_gate_keeps_what_was_given():
    source = narrowed(of(a={"type": "number"}), {"/a": 0.1})
    assert read_value('{"a": 0.1}', source).arguments == {"a": 0.1}
    with pytest.raises(InvalidCall, match=r"0\.1 was expected"):
        read_value('{"a": 0.2}', source)


def test_a_value_is_judged_by_what_the_caller_gave_and_not_by_what_was_closed():
    (tool,) = narrowed([{"name": "t", "parameters": of(a=of(x={}))}], {"/a": {"y": 1}}).tools
    assert tool.parameters["properties"]["a"] == {"const": {"y": 1}}


def test_references_are_followed_from_the_root_in_its_dialect():
    schema = of(a={"type": "integer"}, b={"$ref": "#/properties/a"})
    assert narrowed(schema, {"/b": 3}).schema["properties"]["b"] == {"const": 3}
    with pytest.raises(InvalidGiven, match="'x' is not of type 'integer'"):
        narrowed(schema, {"/b": "x"})
    old = {**of(a={"items": [{"type": "null"}]}), "$schema": "http://json-schema.org/draft-07/schema#"}  # fmt: skip
    with pytest.raises(InvalidGiven, match="3 is not of type 'null'"):
        narrowed(old, {"/a": [3]})


def test_names_with_odd_characters_are_found():
    name = "a/b~c %41#é"
    source = narrowed(of(**{name: {"type": "integer"}}), {"/a~1b~0c %41#é": 3})
    assert source.schema["properties"] == {name: {"const": 3}}


def test_a_reference_on_the_way_is_unfolded_and_its_definition_stays():
    schema = {**of(a={"$ref": "#/$defs/p"}, b={"$ref": "#/$defs/p"}), "$defs": {"p": of(x={})}}
    narrow_schema = narrowed(schema, {"/a/x": 1}).schema
    assert narrow_schema["properties"]["a"] == {**of(x={"const": 1}), "required": ["x"]}
    assert narrow_schema["properties"]["b"] == {"$ref": "#/$defs/p"}
    assert narrow_schema["$defs"] == schema["$defs"]


@pytest.mark.parametrize(
    ("schema", "given", "problem"),
    [
        (of(v={}), {"v": 1}, "expected a JSON pointer"),
        (of(v={}), {"/w": 1}, "no argument 'w'"),
        (of(v={}), {"/v": {1}}, "not a JSON value"),
        (of(v={}), {"/v": float("nan")}, "not a JSON value"),
        (of(v={}), {"/v": nested(3000)}, "nested more than"),
        (of(v={"multipleOf": 0.01}), {"/v": 0.005}, "0.005 is not a multiple of 0.01"),
        ({**of(v={"$ref": "#/$defs/p", "required": ["y"]}), "$defs": {"p": of(x={})}}, {"/v/x": 1}, "beside it"),
        (True, {"/v": 1}, "no argument 'v'"),
    ],
)  # fmt: skip
def test_what_cannot_be_given_is_a_clear_error(schema, given, problem):
    with pytest.raises(InvalidGiven, match=problem):
        narrowed(schema, given)


@pytest.mark.parametrize(
    ("error", "schema", "problem"),
    [
        (UnsupportedSchema, of(v={"pattern": "(?P<a"}), "pattern"),
        (UnresolvableRef, of(v={"not": {"$ref": "#/$defs/no"}}), "points to nothing"),
        (InvalidSchema, of(v={"minimum": "x"}), "minimum must be a number"),
    ],
)
def test_a_schema_at_fault_is_said_to_be(error, schema, problem):
    with pytest.raises(error, match=problem):
        narrowed(schema, {"/v": "x"})


def test_a_tool_without_the_argument_is_left_out():
    tools = [{"name": n, "parameters": of(**{n: {}})} for n in ("a", "b")]
    assert narrowed(tools, {"/b": 1}).names == ("b",)
