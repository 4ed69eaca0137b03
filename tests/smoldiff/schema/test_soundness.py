"""What a schema allows, its node allows too: no satisfiable schema is refused, no valid value is lost."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from membership import admits
from strategies import schemas, values

from smoldiff.errors import SchemaError, UnresolvableRef, UnsatisfiableSchema
from smoldiff.schema.parse import parse_schema
from smoldiff.schema.validation import decoder, first_error

ENDLESS = {"type": "object", "properties": {"n": {"$ref": "#/$defs/n"}}, "required": ["n"]}
DEFS = {"$defs": {"n": ENDLESS}}


def is_valid(value, schema):
    return first_error(decoder(is_exact=True).decode(json.dumps(value)), schema) is None


VALID = {
    "one item that two contains ask for": (
        {"type": "array", "maxItems": 1, "allOf": [{"contains": {"minimum": 1}}, {"contains": {"multipleOf": 2}}]},
        [2],
    ),
    "an item of the prefix that satisfies contains as all others do": (
        {"type": "array", "prefixItems": [{"const": 1}], "items": {"const": 1}, "contains": {"const": 1}, "maxItems": 1},
        [1],
    ),
    "two items of the prefix that satisfy contains": (
        {"type": "array", "prefixItems": [{"const": 1}, {"const": 1}], "items": False, "contains": {"const": 1}, "minContains": 2},
        [1, 1],
    ),
    "no room for items that fail contains": (
        {"type": "array", "items": {"const": 1}, "contains": {"const": 1}, "minContains": 2, "maxContains": 2},
        [1, 1],
    ),
    "unique items beside the one contained": (
        {"type": "array", "items": {"enum": [1, 2, 3]}, "uniqueItems": True, "contains": {"const": 1}, "maxContains": 1},
        [1, 2, 3],
    ),
    "contains satisfied far inside a long prefix": (
        {"type": "array", "prefixItems": [*[{"const": 0}] * 80, {"const": 1}], "items": False, "contains": {"const": 1}},
        [*[0] * 80, 1],
    ),
    "an optional member that can have no value": (
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/n"}}, **DEFS},
        {},
    ),
    "other members that can have no value": (
        {"type": "object", "additionalProperties": {"$ref": "#/$defs/n"}, **DEFS},
        {},
    ),
    "items that can have no value": ({"type": "array", "items": {"$ref": "#/$defs/n"}, **DEFS}, []),
    "a type for which nothing leads back": ({"items": {"$ref": "#"}, "contains": {"type": "array"}}, None),
    "no type, and items that lead back": ({"items": [{"$ref": "#"}], "anyOf": [{"contains": {}}]}, 1),
    "an alternative that does not lead back": (
        {"items": [{"$ref": "#"}], "if": {"items": [{"required": ["b"]}]}, "then": True},
        [{}],
    ),
    "members that two branches evaluate": (
        {
            "anyOf": [
                {"properties": {"a": {"type": "integer"}}},
                {"properties": {"b": {"type": "integer"}}},
            ],
            "required": ["a", "b"],
            "unevaluatedProperties": False,
        },
        {"a": 1, "b": 2},
    ),
    "an item that a lonely if evaluates": (
        {"type": "array", "unevaluatedItems": False, "if": {"prefixItems": [True]}},
        [0],
    ),
    "a key asked for and denied by one schema, beside a rival": (
        {
            "oneOf": [
                {"not": {}},
                {"dependentSchemas": {"a": {"type": "boolean"}}, "required": ["a"]},
            ]
        },
        None,
    ),
    "what is evaluated under two negations": (
        {"not": {"not": {"contains": {}, "unevaluatedItems": False}}, "type": "array"},
        [0],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("schema", "value"), VALID.values(), ids=VALID)
def test_a_valid_value_is_admitted(schema, value):
    assert is_valid(value, schema)
    assert admits(parse_schema(schema), value)


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(schema=schemas(), value=values())
def test_a_random_value_that_is_valid_is_admitted(schema, value):
    try:
        expected = is_valid(value, schema)
    except SchemaError:
        return
    try:
        node = parse_schema(schema)
    except (UnsatisfiableSchema, UnresolvableRef):
        assert not expected
        return
    assert not expected or admits(node, value)
