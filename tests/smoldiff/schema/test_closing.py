"""What a tool's objects take beside the properties that they name."""

from jsonschema import Draft202012Validator

from smoldiff.schema.closing import closed


def of(properties, **more):
    return {"type": "object", "properties": properties, **more}


def test_nested_objects_are_closed_wherever_they_stand():
    inner = of({"a": {}})
    schema = of(
        {
            "x": inner,
            "list": {"type": "array", "items": inner},
            "either": {"anyOf": [inner, {"type": "null"}]},
        },
        **{"$defs": {"d": inner}},
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


def test_the_callers_schema_is_not_changed():
    schema = of({"x": of({})})
    closed(schema)
    assert schema == of({"x": of({})})
