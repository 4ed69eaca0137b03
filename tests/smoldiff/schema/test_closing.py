"""What a tool's objects take beside the properties that they name."""

import pytest
from jsonschema import Draft202012Validator

from smoldiff.schema.closing import closed


def of(properties, **more):
    return {"type": "object", "properties": properties, **more}


INNER = of({"a": {}})
CLOSED = {**INNER, "additionalProperties": False}


def test_nested_objects_are_closed_wherever_they_stand():
    schema = of(
        {
            "x": INNER,
            "list": {"type": "array", "items": INNER},
            "either": {"anyOf": [INNER, {"type": "null"}]},
        },
        **{"$defs": {"d": INNER}},
    )
    result = closed(schema)
    spots = [
        result,
        result["properties"]["x"],
        result["properties"]["list"]["items"],
        result["properties"]["either"]["anyOf"][0],
        result["$defs"]["d"],
    ]
    assert all(spot["additionalProperties"] is False for spot in spots)


def test_what_the_schema_says_itself_stays():
    said = of({"a": {}}, additionalProperties={"type": "integer"})
    patterns = of({"a": {}}, patternProperties={"^x": {}})
    free = {"type": "object"}
    assert closed(of({"x": said, "y": patterns, "z": free}))["properties"] == {
        "x": said,
        "y": patterns,
        "z": free,
    }


def test_a_required_key_without_a_property_keeps_its_object_open():
    assert closed(of({"a": {}}, required=["b"])) == of({"a": {}}, required=["b"])


def test_parts_that_are_combined_stay_open_so_that_both_can_hold():
    base, more = of({"a": {"type": "integer"}}), of({"b": {"type": "integer"}})
    result = closed(of({"x": {"allOf": [base, more]}}))
    Draft202012Validator(result).validate({"x": {"a": 1, "b": 2}})
    assert result["additionalProperties"] is False


B = {"properties": {"b": {}}, "required": ["b"]}
KIND = {"properties": {"kind": {"const": "k"}, "x": {}}, "required": ["kind", "x"]}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (of({"a": {}}, allOf=[B]), {"b": 1}),
        (of({"a": {}}, **{"if": {"required": ["a"]}, "then": B}), {"a": 1, "b": 2}),
        (of({"kind": {}}, oneOf=[KIND]), {"kind": "k", "x": 1}),
        (of({"a": {}}, **{"$ref": "#/$defs/b", "$defs": {"b": B}}), {"a": 1, "b": 2}),
        (of({}, minProperties=1), {"a": 1}),
        (of({"a": {}}, enum=[{"b": 1}]), {"b": 1}),
        (of({"a": {}}, dependentRequired={"a": ["b"]}), {"a": 1, "b": 2}),
        (of({"x": INNER}, allOf=[{"properties": {"x": B}}]), {"x": {"a": 1, "b": 2}}),
        ({"anyOf": [INNER, of({"c": {}})], "required": ["b"]}, {"b": 1}),
        (of({"x": {"allOf": [{"$ref": "#/$defs/b"}, INNER]}}, **{"$defs": {"b": B}}), {"x": {"a": 1, "b": 2}}),
        (of({"p": INNER, "x": {"allOf": [{"$ref": "#/properties/p"}, B]}}), {"x": {"b": 1}}),
    ],
)  # fmt: skip
def test_what_only_a_combination_allows_stays_allowed(schema, value):
    Draft202012Validator(closed(schema)).validate(value)


def test_a_value_that_two_parts_of_a_oneof_take_stays_refused():
    either = {"oneOf": [INNER, of({"b": {}}, required=["b"])]}
    assert not Draft202012Validator(closed(of({"x": either}))).is_valid({"x": {"b": 1}})
    assert closed(of({"x": {"oneOf": [INNER, {"type": "null"}]}}))["properties"]["x"] == {
        "oneOf": [CLOSED, {"type": "null"}]
    }


def test_definitions_are_closed_only_if_no_combination_refers_to_one():
    alone, ref = of({"x": {"$ref": "#/$defs/d", "title": "X"}}), {"$ref": "#/$defs/d"}
    definitions = {"$defs": {"d": INNER}}
    assert closed({**alone, **definitions})["$defs"]["d"] == CLOSED
    mixed = closed(of({"x": ref, "y": {"allOf": [ref]}}, **definitions))
    assert mixed["$defs"]["d"] == INNER
    assert mixed["additionalProperties"] is False


def test_parts_that_only_ask_for_keys_leave_what_is_nested_closable():
    schema = of({"x": INNER}, anyOf=[{"required": ["x"]}, {"required": ["y"]}])
    assert closed(schema) == {**schema, "properties": {"x": CLOSED}}


def test_properties_named_as_keywords_are_names():
    schema = of({"not": INNER, "if": {"type": "string"}, "allOf": {}, "$ref": {}})
    result = closed(schema)
    assert result["additionalProperties"] is False
    assert result["properties"]["not"] == CLOSED


def test_the_callers_schema_is_not_changed():
    schema = of({"x": of({})})
    closed(schema)
    assert schema == of({"x": of({})})
