"""Everything a caller may pass as a schema, and what is said to those who pass something else."""

import json

import pydantic
import pytest

from smoldiff.errors import InvalidSchema
from smoldiff.schema.source import Tool, read_source

PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
OPENAI = {
    "type": "function",
    "function": {"name": "weather", "description": "Now", "parameters": PARAMETERS},
}


class Weather(pydantic.BaseModel):
    """Tells the weather."""

    city: str


def test_openai_flat_and_anthropic_tools_read_alike():
    flat = {"name": "weather", "description": "Now", "parameters": PARAMETERS}
    responses = {"type": "function", **flat}
    anthropic = {"name": "weather", "description": "Now", "input_schema": PARAMETERS}
    tools = [read_source(given).tools[0] for given in (OPENAI, flat, responses, anthropic)]
    assert {(tool.name, tool.description, json.dumps(tool.parameters)) for tool in tools} == {
        ("weather", "Now", json.dumps({**PARAMETERS, "additionalProperties": False}))
    }
    assert [tool.pointer for tool in tools] == [
        "/function/parameters",
        "/parameters",
        "/parameters",
        "/input_schema",
    ]


def test_a_tool_keeps_what_was_given():
    assert read_source([OPENAI]).tools[0].raw == OPENAI
    assert read_source([OPENAI]).tools[0].pointer == "/0/function/parameters"


def test_a_bare_schema_has_no_tools():
    assert read_source(PARAMETERS).schema == PARAMETERS
    assert read_source(True).schema is True
    assert read_source({"type": "object", "properties": {"name": {}, "parameters": {}}}).tools == ()


def test_a_pydantic_class_is_a_schema_alone_and_a_tool_in_a_list():
    closed = {**Weather.model_json_schema(), "additionalProperties": False}
    assert read_source(Weather).schema == closed
    (tool,) = read_source([Weather]).tools
    assert (tool.name, tool.description) == ("Weather", "Tells the weather.")
    assert tool.parameters["additionalProperties"] is False


def test_what_was_given_is_kept_beside_what_was_closed():
    tool = read_source([OPENAI]).tools[0]
    assert tool.judging_parameters == PARAMETERS
    assert tool.parameters == {**PARAMETERS, "additionalProperties": False}
    assert read_source(Weather).judging_schema == Weather.model_json_schema()
    assert read_source(PARAMETERS).judging_schema == PARAMETERS
    assert Tool("t", "", PARAMETERS, {}, "").judging_parameters == PARAMETERS


def test_missing_parameters_are_no_arguments():
    (tool,) = read_source([{"type": "function", "function": {"name": "ping"}}]).tools
    assert tool.parameters == {"type": "object", "properties": {}, "additionalProperties": False}


def test_a_tool_that_requires_an_argument_without_a_property_stays_open():
    (tool,) = read_source(
        [{"name": "t", "parameters": {"properties": {}, "required": ["x"]}}]
    ).tools
    assert "additionalProperties" not in tool.parameters


def test_nullable_becomes_null_but_names_and_data_stay():
    given = {
        "properties": {
            "nullable": {"type": "string", "nullable": True},
            "b": {"type": "string", "enum": ["x"], "nullable": True},
        },
        "default": {"type": "string", "nullable": True},
    }
    read = read_source(given).schema
    assert read["properties"]["nullable"] == {"type": ["string", "null"]}
    assert read["properties"]["b"] == {"type": ["string", "null"], "enum": ["x", None]}
    assert read["default"] == given["default"]


@pytest.mark.parametrize(
    ("given", "pointer", "words"),
    [
        ("{}", "", "json.loads"),
        (print, "", "function"),
        (3, "", "not 3"),
        ([], "", "empty"),
        ([3], "/0", "must be an object"),
        ([print], "/0", "must be an object"),
        ([OPENAI, OPENAI], "/1", "second tool"),
        ([{"type": "function", "function": {"name": 3}}], "/0/function/name", "non-empty string"),
        ({"type": "function"}, "/function", "must be an object"),
        ([{"parameters": {}}], "/0/name", "non-empty string"),
        ([{"name": "a", "parameters": 3}], "/0/parameters", "JSON Schema object"),
        ([{"name": "a", "parameters": {"type": "array"}}], "/0/parameters/type", "of type object"),
        ([{"name": "a", "description": 3}], "/0/description", "must be a string"),
    ],
    ids=str,
)
def test_what_is_no_schema_is_an_error_with_a_pointer(given, pointer, words):
    with pytest.raises(InvalidSchema, match=words) as caught:
        read_source(given)
    assert caught.value.pointer == pointer
