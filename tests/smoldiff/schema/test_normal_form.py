"""What each keyword becomes, alone and together with others."""

import pytest

from smoldiff.errors import UnresolvableRef, UnsatisfiableSchema
from smoldiff.schema.limits import Limits
from smoldiff.schema.nodes import (
    Array,
    Boolean,
    Const,
    Enum,
    Integer,
    Number,
    Object,
    Opaque,
    Others,
    Property,
    String,
    Union,
)
from smoldiff.schema.parse import parse_schema

TEXT, INT = {"type": "string"}, {"type": "integer"}
FREE = Opaque("/additionalProperties")


def types(node):
    return [type(branch) for branch in node.branches]


@pytest.mark.parametrize(
    ("schema", "node"),
    [
        (
            {"type": "object", "patternProperties": {"^x": INT}, "additionalProperties": False},
            Object(
                "", (), (Others(String("", patterns=("^x",)), Integer("/patternProperties/^x")),)
            ),
        ),
        (
            {"type": "object", "patternProperties": {"^x": INT}},
            Object(
                "",
                (),
                (
                    Others(String("", patterns=("^x",)), Integer("/patternProperties/^x")),
                    Others(String("", excluded=("^x",)), FREE),
                ),
            ),
        ),
        (
            {"type": "object", "additionalProperties": INT, "maxProperties": 3},
            Object(
                "", (), (Others(String(""), Integer("/additionalProperties")),), max_properties=3
            ),
        ),
        (
            {"type": "object", "propertyNames": {"maxLength": 2}},
            Object("", (), (Others(String("/propertyNames", max_length=2), FREE),)),
        ),
        (
            {"type": "object", "propertyNames": {"enum": ["a", "b"]}},
            Object("", (Property("a", FREE, False), Property("b", FREE, False))),
        ),
        (
            {"type": "object", "dependentRequired": {"a": ["b"]}, "properties": {"a": INT}},
            Object(
                "",
                (
                    Property("a", Integer("/properties/a"), False),
                    Property("b", FREE, False),
                ),
                (Others(String(""), FREE),),
                needs=(("a", ("b",)),),
            ),
        ),
        (
            {"type": "object", "properties": {"a": False}},
            Object("", (), (Others(String(""), FREE),), forbidden=("a",)),
        ),
        (
            {"type": "array", "contains": INT, "items": {"minimum": 3}},
            Array(
                "",
                (),
                Union(
                    "/items",
                    (
                        Number("/items", minimum=3),
                        Opaque("/items", ("object", "array", "string", "boolean", "null")),
                    ),
                ),
                0,
                None,
                contained=(Integer("/items", minimum=3),),
            ),
        ),
        (
            {"type": "array", "items": {"enum": [1, 2]}, "uniqueItems": True},
            Array("", (), Enum("/items", ("1", "2")), 0, 2, True),
        ),
        ({"type": "string", "not": {"const": "a.b"}}, String("", excluded=(r"^(?:a\.b)$",))),
        ({"type": "string", "not": {"pattern": "^a"}}, String("", excluded=("^a",))),
        ({"type": "string", "not": {"minLength": 3}}, String("", max_length=2)),
        ({"type": "number", "not": {"minimum": 3}}, Number("", exclusive_maximum=3)),
        ({"type": "number", "not": {"type": "integer"}}, Number("", is_fractional=True)),
        (
            {"type": "number", "maximum": 9, "not": {"type": "integer"}},
            Number("", maximum=9, is_fractional=True),
        ),
        ({"type": "boolean", "not": {"const": True}}, Const("", "false")),
        ({"not": {"not": TEXT}}, String("")),
        ({"not": TEXT}, Opaque("", ("object", "array", "number", "boolean", "null"))),
        ({"type": ["string", "null"], "not": {"type": "null"}}, String("")),
        ({"enum": ["a", "bb", 3], "not": {"maxLength": 1}}, Const("", '"bb"')),
        ({"enum": [1, 2, 3, 4], "minimum": 2, "multipleOf": 2}, Enum("", ("2", "4"))),
        ({"enum": ["a", "b"], "anyOf": [{"const": "b"}, {"type": "null"}]}, Const("", '"b"')),
        ({"enum": [{"a": 1}, {}], "required": ["a"]}, Const("", '{"a": 1}')),
        (
            {"type": "string", "allOf": [{"pattern": "a"}, {"pattern": "b", "minLength": 2}]},
            String("", 2, patterns=("a", "b")),
        ),
        (
            {"type": "number", "allOf": [{"multipleOf": 0.4}, {"multipleOf": 0.6}]},
            Number("", multiple_of=1.2),
        ),
        (
            {"type": "integer", "allOf": [{"multipleOf": 4}, {"multipleOf": 6}]},
            Integer("", multiple_of=12),
        ),
        ({"allOf": [{"type": ["number", "string"]}, {"type": ["integer", "null"]}]}, Integer("")),
        ({"type": "boolean", "if": True, "then": {"const": True}}, Const("", "true")),
        ({"type": "object", "minProperties": 0}, Opaque("", ("object",))),
    ],
    ids=str,
)
def test_a_schema_becomes_this_node(schema, node):
    assert parse_schema(schema) == node


def test_if_splits_into_then_and_else():
    schema = {
        "type": "object",
        "properties": {"kind": {"enum": ["a", "b"]}, "x": INT},
        "required": ["kind"],
        "if": {"properties": {"kind": {"const": "a"}}},
        "then": {"required": ["x"]},
        "else": {"properties": {"x": False}},
    }
    then, otherwise = parse_schema(schema).branches
    assert [(one.name, one.is_required) for one in then.properties] == [("kind", True), ("x", True)]
    assert then.properties[0].node.text == '"a"'
    assert [one.name for one in otherwise.properties] == ["kind"]
    assert otherwise.properties[0].node.text == '"b"'
    assert otherwise.forbidden == ("x",)


def test_one_of_tells_its_branches_apart_where_that_is_simple():
    schema = {
        "type": "object",
        "properties": {"a": INT, "b": INT},
        "oneOf": [{"required": ["a"]}, {"required": ["b"]}],
    }
    first, second = parse_schema(schema).branches
    assert (first.forbidden, second.forbidden) == (("b",), ("a",))


def test_one_of_with_a_tag_needs_no_exclusions():
    kinds = [
        {"type": "object", "properties": {"t": {"const": tag}, "v": TEXT}, "required": ["t"]}
        for tag in "ab"
    ]
    first, second = parse_schema({"oneOf": kinds}).branches
    assert [one.name for one in first.properties] == ["t", "v"]
    assert first.forbidden == second.forbidden == ()


def test_a_dependent_schema_holds_only_with_its_key():
    schema = {
        "type": "object",
        "properties": {"card": INT},
        "dependentSchemas": {"card": {"required": ["address"], "properties": {"address": TEXT}}},
    }
    without, present = parse_schema(schema).branches
    assert (without.properties, without.forbidden) == ((), ("card",))
    assert [(one.name, one.is_required) for one in present.properties] == [
        ("card", True),
        ("address", True),
    ]


def test_unevaluated_properties_see_what_the_chosen_branch_evaluates():
    schema = {
        "type": "object",
        "properties": {"id": INT},
        "anyOf": [
            {"properties": {"a": TEXT}, "required": ["a"]},
            {"required": ["b"], "properties": {"b": TEXT}},
        ],
        "unevaluatedProperties": False,
    }
    first, second, both = parse_schema(schema).branches
    assert [one.name for one in first.properties] == ["id", "a"]
    assert [one.name for one in second.properties] == ["id", "b"]
    assert [one.name for one in both.properties] == ["id", "a", "b"]
    assert first.others == second.others == both.others == ()


def test_unevaluated_items_begin_behind_the_longest_prefix():
    schema = {
        "type": "array",
        "allOf": [{"prefixItems": [TEXT, INT]}],
        "prefixItems": [{"minLength": 1}],
        "unevaluatedItems": False,
    }
    node = parse_schema(schema)
    assert (len(node.prefix), node.items, node.max_items) == (2, None, 2)


def test_contains_in_a_closed_array_is_one_of_its_items():
    schema = {"type": "array", "prefixItems": [{}, {}], "items": False, "contains": {"const": 1}}
    node = parse_schema(schema)
    assert [branch.min_items for branch in node.branches] == [1, 2]
    assert node.branches[1].prefix[1].text == "1"


def test_every_rule_speaks_of_every_key():
    schema = {
        "type": "object",
        "allOf": [
            {"properties": {"a": INT}, "additionalProperties": {"maxLength": 3}},
            {"properties": {"b": TEXT}},
        ],
    }
    assert parse_schema(schema).properties[1].node == String("/allOf/0/additionalProperties", 0, 3)


def test_a_closed_part_of_all_of_closes_the_whole():
    schema = {
        "type": "object",
        "allOf": [
            {"additionalProperties": False, "properties": {"b": INT}},
            {"properties": {"a": INT}},
        ],
    }
    node = parse_schema(schema)
    assert ([one.name for one in node.properties], node.others) == (["b"], ())


def test_untyped_words_leave_the_other_types_free():
    node = parse_schema({"properties": {"a": INT}})
    assert types(node) == [Object, Opaque]
    assert node.branches[1].types == ("array", "string", "number", "boolean", "null")


@pytest.mark.parametrize(
    ("schema", "pointer"),
    [
        ({"not": {}}, "/not"),
        ({"not": True}, "/not"),
        ({"type": "string", "not": TEXT}, ""),
        ({"type": "object", "minProperties": 2, "maxProperties": 1}, ""),
        (
            {
                "type": "object",
                "properties": {"a": INT},
                "additionalProperties": False,
                "minProperties": 2,
            },
            "",
        ),
        (
            {"type": "object", "required": ["ab"], "propertyNames": {"maxLength": 1}},
            "/propertyNames",
        ),
        ({"type": "array", "contains": False}, "/contains"),
        ({"type": "array", "contains": INT, "minContains": 3, "maxContains": 2}, ""),
        ({"type": "array", "items": {"enum": [1, 2]}, "uniqueItems": True, "minItems": 3}, ""),
        ({"type": "integer", "minimum": 7, "maximum": 9, "multipleOf": 5}, ""),
    ],
    ids=str,
)
def test_what_nothing_satisfies_is_an_error(schema, pointer):
    with pytest.raises(UnsatisfiableSchema) as caught:
        parse_schema(schema)
    assert caught.value.pointer == pointer


def test_references_resolve_against_embedded_ids():
    schema = {
        "$id": "https://example.com/root",
        "type": "array",
        "prefixItems": [{"$ref": "item"}, {"$ref": "item#/$defs/inner"}, {"$ref": "item#part"}],
        "$defs": {
            "x": {
                "$id": "item",
                "$ref": "#/$defs/inner",
                "$defs": {"inner": INT, "other": {"$anchor": "part", "type": "boolean"}},
            }
        },
    }
    assert parse_schema(schema).prefix == (
        Integer("/$defs/x/$defs/inner"),
        Integer("/$defs/x/$defs/inner"),
        Boolean("/$defs/x/$defs/other"),
    )


def test_a_dynamic_reference_takes_the_outermost_anchor():
    schema = {
        "$id": "https://example.com/strings",
        "$ref": "list",
        "$defs": {
            "s": {"$dynamicAnchor": "item", "type": "string"},
            "list": {
                "$id": "list",
                "type": "array",
                "items": {"$dynamicRef": "#item"},
                "$defs": {"any": {"$dynamicAnchor": "item"}},
            },
        },
    }
    assert parse_schema(schema).items == String("/$defs/s")


def test_words_beside_a_reference_are_ignored_in_draft_7():
    schema = {"$ref": "#/definitions/a", "maxLength": 3, "definitions": {"a": TEXT}}
    old = {"$schema": "http://json-schema.org/draft-07/schema#", **schema}
    assert parse_schema(old) == String("/definitions/a")
    assert parse_schema(schema) == String("", max_length=3)


def test_a_branch_that_is_itself_adds_nothing():
    assert parse_schema({"anyOf": [{"$ref": "#"}, TEXT]}) == String("/anyOf/1")
    with pytest.raises(UnresolvableRef):
        parse_schema({"anyOf": [{"$ref": "#"}, {"$ref": "#/anyOf/0"}]})


def test_past_the_limit_of_alternatives_a_choice_is_left_out():
    choices = [{"anyOf": [{"minLength": 1}, {"pattern": str(num)}]} for num in range(6)]
    node = parse_schema({"type": "string", "allOf": choices}, limits=Limits(max_alternatives=8))
    assert len(node.branches) == 8
