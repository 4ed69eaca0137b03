"""Schemas made to break a compiler: a node or an error with a pointer, soon and with little memory."""

from contextlib import suppress

import pytest
from slowness import within

from smoldiff.errors import (
    InvalidSchema,
    SchemaError,
    UnresolvableRef,
    UnsatisfiableSchema,
    UnsupportedSchema,
)
from smoldiff.scaffold.compile import compile_schema
from smoldiff.schema.limits import Limits
from smoldiff.schema.nodes import Array, Const, Enum, Object, String
from smoldiff.schema.parse import parse_schema

MAX_CPU_S = 4  # twice what is promised: machines differ
INT = {"type": "integer"}


def nested(word, depth, leaf):
    schema = leaf
    for _ in range(depth):
        schema = {word: [schema, schema]} if word.endswith("Of") else {word: schema}
    return schema


def choices(word, count):
    pairs = [{word: [{"required": [f"a{i}"]}, {"required": [f"b{i}"]}]} for i in range(count)]
    return {"type": "object", "allOf": pairs}


def referring(count, schema):
    return {"$ref": "#/$defs/0", "$defs": {str(i): schema(i) for i in range(count)}}


HUGE = {
    "nesting of references": {"items": {"$ref": "#" + "/items" * 10_000}},
    "anyOf in anyOf": nested("anyOf", 12, INT),
    "oneOf in oneOf": nested("oneOf", 12, INT),
    "not in not": nested("not", 150, INT),
    "2^30 alternatives": choices("anyOf", 30),
    "2^30 exclusive alternatives": choices("oneOf", 30),
    "2,000 exclusive branches": {"oneOf": [{"required": [f"a{i}"]} for i in range(2_000)]},
    "20,000 branches": {"anyOf": [{"const": i} for i in range(20_000)]},
    "2^1,000 dependent schemas": {
        "type": "object",
        "dependentSchemas": {f"k{i}": {"required": ["z"]} for i in range(1_000)},
    },
    "5,000 ways to fail": {"not": {"properties": {f"k{i}": INT for i in range(5_000)}}},
    "300 conditions": {
        "type": "object",
        "allOf": [
            {"if": {"properties": {"k": {"const": i}}}, "then": {"required": [f"r{i}"]}}
            for i in range(300)
        ],
    },
    "100,000 properties": {
        "type": "object",
        "properties": {f"k{i}": {"type": "integer"} for i in range(100_000)},
    },
    "100,000 required names": {"type": "object", "required": [f"k{i}" for i in range(100_000)]},
    "100,000 items": {"type": "array", "prefixItems": [INT] * 100_000},
    "5,000 places for one item": {
        "type": "array",
        "prefixItems": [INT] * 5_000,
        "contains": {"const": 3},
    },
    "100,000 values under a pattern": {
        "enum": [f"v{i}" for i in range(100_000)],
        "pattern": "^v[0-9]*5$",
    },
    "100,000 values not allowed": {
        "type": "string",
        "not": {"enum": [f"v{i}" for i in range(100_000)]},
    },
    "everything refers to everything": referring(
        30,
        lambda _: {
            "anyOf": [
                {"type": "object", "properties": {"x": {"$ref": f"#/$defs/{j}"}}} for j in range(30)
            ]
        },
    ),
    "2^30 references": referring(
        31,
        lambda i: INT if i == 30 else {"allOf": [{"$ref": f"#/$defs/{i + 1}"}] * 2},
    ),
    "a pattern without end": {
        "type": "object",
        "properties": {"a" * 40 + f"!{i}": INT for i in range(50)},
        "patternProperties": {"^(a+)+$": INT},
        "propertyNames": {"pattern": "^(a|a)*"},
    },
    "names of names": {
        "$defs": {f"d{i}": {"$id": f"x{i}", "$anchor": f"a{i}"} for i in range(20_000)},
        "type": "object",
        "properties": {f"p{i}": {"$ref": f"x{i}#a{i}"} for i in range(1_000)},
    },
    "numbers beyond floats": {"type": "number", "minimum": 10**400, "multipleOf": 7},
    "steps below floats": {
        "type": "integer",
        "minimum": 1e307,
        "maximum": 1.5e308,
        "multipleOf": 1e-300,
    },
}


@pytest.mark.parametrize("name", HUGE)
def test_a_huge_schema_is_compiled_or_refused_in_time(name):
    def compile_it():
        with suppress(SchemaError):
            compile_schema(HUGE[name])

    within(MAX_CPU_S, compile_it)


@pytest.mark.parametrize(
    ("schema", "error"),
    [
        (nested("items", 10_000, INT), UnsupportedSchema),
        ({"x": "x" * 5_000_000}, UnsupportedSchema),
        ({"type": "string", "minLength": 5, "maxLength": 3}, UnsatisfiableSchema),
        ({"type": "number", "minimum": 5, "maximum": 3}, UnsatisfiableSchema),
        ({"minimum": float("nan")}, InvalidSchema),
        ({"maximum": float("inf")}, InvalidSchema),
        ({"properties": {"\ud800": INT}}, InvalidSchema),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"allOf": [{"$ref": "#"}]}}}, UnresolvableRef),
        ({"not": {"$ref": "#"}}, UnresolvableRef),
        ({"$ref": "#" + "/a" * 100_000}, UnresolvableRef),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)
def test_what_cannot_be_compiled_says_so(schema, error):
    with pytest.raises(error):
        compile_schema(schema)


def test_numbers_are_kept_and_nothing_is_written_out():
    many = 10**9
    assert parse_schema({"type": "string", "minLength": many}) == String("", many)
    assert parse_schema({"type": "array", "items": INT, "minItems": many}).min_items == many
    assert parse_schema({"type": "object", "minProperties": many}).min_properties == many
    wanted = parse_schema({"type": "array", "contains": INT, "minContains": many})
    assert isinstance(wanted, Array)
    assert len(wanted.contained) == Limits().max_contained


def test_a_long_enum_keeps_every_value():
    node = parse_schema({"enum": [f"v{i}" for i in range(100_000)]})
    assert isinstance(node, Enum)
    assert len(node.texts) == 100_000


def test_strange_keys_are_keys():
    keys = ["\x00\n", "__proto__", "<|im_end|>", "\u2028", "a/b~c", ""]
    schema = {"type": "object", "properties": dict.fromkeys(keys, INT), "required": keys * 2}
    node = parse_schema(schema)
    assert isinstance(node, Object)
    assert [one.name for one in node.properties] == keys


def test_limits_can_be_raised():
    schema = nested("allOf", 1, {"const": 1}) | {"x": nested("items", 170, INT)}
    with pytest.raises(UnsupportedSchema):
        parse_schema(schema)
    assert parse_schema(schema, limits=Limits(max_nesting=200)) == Const("", "1")
