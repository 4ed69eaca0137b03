"""Each keyword as a node, and where a schema gets no template."""

import pytest

from smoldiff.errors import InvalidSchema, UnresolvableRef, UnsatisfiableSchema
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
)
from smoldiff.schema.parse import parse_schema

TEXT, INT = {"type": "string"}, {"type": "integer"}


def kinds(node):
    return [type(branch) for branch in node.branches]


@pytest.mark.parametrize(
    ("schema", "node"),
    [
        ({"type": "string", "minLength": 1, "maxLength": 9.0}, String("", 1, 9)),
        (
            {"type": "string", "pattern": "^a", "format": "date"},
            String("", 0, None, ("^a",), ("date",)),
        ),
        ({"type": "integer", "minimum": 0.5, "exclusiveMaximum": 10}, Integer("", 1, 9)),
        ({"type": "integer", "minimum": 3, "exclusiveMinimum": True}, Integer("", 4)),
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 1.5}, Number("", None, 1.5, 0)),
        ({"type": "boolean"}, Boolean("")),
        ({"type": "null"}, Const("", "null")),
        ({"const": {"ü": [1.0, None]}}, Const("", '{"ü": [1.0, null]}')),
        ({"const": 2.0}, Const("", "2")),
        ({"enum": ["a", "b", "a"]}, Enum("", ('"a"', '"b"'))),
        ({"enum": ["a", 1, True, None], "type": ["string", "integer"]}, Enum("", ('"a"', "1"))),
        ({"enum": [1, True], "const": True}, Const("", "true")),
        (
            {"type": "array", "items": INT, "maxItems": 3},
            Array("", (), Integer("/items"), 0, 3, False),
        ),
        (
            {"type": "array", "prefixItems": [INT], "items": False},
            Array("", (Integer("/prefixItems/0"),), None, 0, 1, False),
        ),
        (
            {"type": "array", "items": [INT], "additionalItems": False},
            Array("", (Integer("/items/0"),), None, 0, 1, False),
        ),
        (True, Opaque("")),
        ({"description": "free"}, Opaque("")),
        ({"type": "object"}, Opaque("", ("object",))),
        ({"type": "object", "properties": {}, "additionalProperties": False}, Object("", ())),
    ],
    ids=str,
)
def test_a_plain_schema_is_one_node(schema, node):
    assert parse_schema(schema) == node


def test_properties_keep_their_order_and_unnamed_required_ones_follow():
    schema = {"type": "object", "properties": {"b": TEXT, "a": INT}, "required": ["z", "a"]}
    assert parse_schema(schema, "/p").properties == (
        Property("b", String("/p/properties/b"), False),
        Property("a", Integer("/p/properties/a"), True),
        Property("z", Opaque("/p/additionalProperties"), True),
    )


def test_additional_properties_say_whether_an_object_is_open():
    closed, is_open, typed = (
        parse_schema({"type": "object", "properties": {"a": INT}, "additionalProperties": rest})
        for rest in (False, True, TEXT)
    )
    assert closed.others == ()
    assert is_open.others == (Others(String(""), Opaque("/additionalProperties")),)
    assert typed.others == (Others(String(""), String("/additionalProperties")),)


def test_a_type_list_and_any_of_are_unions_flattened():
    node = parse_schema(
        {"anyOf": [{"type": ["string", "null"]}, INT, {"oneOf": [{"type": "boolean"}]}]}
    )
    assert kinds(node) == [String, Const, Integer, Boolean]


def test_without_a_type_any_other_value_passes_too():
    assert kinds(parse_schema({"properties": {"a": INT}})) == [Object, Opaque]
    assert kinds(parse_schema({"minLength": 2, "minimum": 3})) == [String, Number, Opaque]


def test_siblings_of_any_of_hold_in_each_branch():
    schema = {
        "type": "object",
        "properties": {"a": INT, "b": TEXT},
        "anyOf": [{"required": ["a"]}, {"required": ["b"]}, {"type": "null"}],
    }
    node = parse_schema(schema)
    assert [
        [one.name for one in branch.properties if one.is_required] for branch in node.branches
    ] == [["a"], ["b"]]


def test_any_of_beside_one_of_is_every_pair_that_can_hold():
    node = parse_schema(
        {"anyOf": [TEXT, INT], "oneOf": [{"type": "string", "maxLength": 3}, {"minimum": 2}]}
    )
    assert node.branches == (
        String("/oneOf/1", min_length=4),  # a shorter one would satisfy both parts of oneOf
        Integer("/oneOf/1", minimum=2),
    )


def test_all_of_merges_in_the_order_it_is_written():
    first, second = {"properties": {"b": TEXT}, "required": ["b"]}, {"$ref": "#/$defs/a"}
    schema = {
        "allOf": [first, second],
        "type": "object",
        "properties": {"c": {"minLength": 2}, "b": {"maxLength": 3}},
        "$defs": {"a": {"properties": {"a": INT}}},
    }
    node = parse_schema(schema)
    assert [one.name for one in node.properties] == ["b", "a", "c"]
    assert node.properties[0].node == String("/allOf/0/properties/b", 0, 3)


def test_two_parts_of_all_of_may_share_a_base():
    base = {"type": "object", "properties": {"id": INT}}
    schema = {
        "allOf": [{"$ref": "#/$defs/base"}, {"$ref": "#/$defs/more"}],
        "$defs": {
            "base": base,
            "more": {"allOf": [{"$ref": "#/$defs/base"}, {"required": ["id"]}]},
        },
    }
    node = Integer("/$defs/base/properties/id")
    assert parse_schema(schema).properties == (Property("id", node, True),)


def test_counts_that_say_nothing_new_keep_the_template():
    schema = {"type": "object", "properties": {"a": INT}, "required": ["a"], "minProperties": 1}
    assert isinstance(parse_schema(schema), Object)


def test_references_resolve_by_pointer_anchor_and_own_id():
    schema = {
        "$id": "https://example.com/s",
        "$defs": {"a/b": INT, "named": {"$anchor": "here", "type": "boolean"}},
        "prefixItems": [
            {"$ref": "#/$defs/a~1b"},
            {"$ref": "#here"},
            {"$ref": "https://example.com/s#/$defs/a%7E1b"},
        ],
        "type": "array",
    }
    assert parse_schema(schema).prefix == (
        Integer("/$defs/a~1b"),
        Boolean("/$defs/named"),
        Integer("/$defs/a~1b"),
    )


def test_recursion_is_expanded_a_few_times_and_then_opaque():
    node = parse_schema(
        {"type": "object", "properties": {"child": {"$ref": "#"}}, "additionalProperties": False}
    )
    depth = 0
    while isinstance(node, Object):
        node, depth = node.properties[0].node, depth + 1
    assert depth > 2
    assert isinstance(node, Opaque)


@pytest.mark.parametrize(
    ("schema", "pointer", "words"),
    [
        ({"$ref": "#"}, "/$ref", "leads back to itself"),
        (
            {
                "$ref": "#/$defs/a",
                "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}},
            },
            "/$defs/b/$ref",
            "itself",
        ),
        (
            {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
            "/properties/a/$ref",
            "itself",
        ),
        ({"allOf": [{"$ref": "#"}]}, "/allOf/0/$ref", "itself"),
        ({"$ref": "#/$defs/x"}, "/$ref", "points to nothing"),
        ({"$ref": "#x"}, "/$ref", "anchor"),
        ({"items": {"$ref": "https://example.com/x.json"}}, "/items/$ref", "ever fetched"),
    ],
    ids=str,
)
def test_a_reference_without_an_end_is_an_error(schema, pointer, words):
    with pytest.raises(UnresolvableRef, match=words) as caught:
        parse_schema(schema)
    assert caught.value.pointer == pointer


@pytest.mark.parametrize(
    ("schema", "pointer"),
    [
        (False, ""),
        ({"type": "string", "minLength": 3, "maxLength": 2}, ""),
        ({"type": "integer", "minimum": 3, "maximum": 2}, ""),
        ({"type": "number", "minimum": 3, "exclusiveMaximum": 3}, ""),
        ({"type": "array", "minItems": 2, "maxItems": 1}, ""),
        ({"type": "array", "items": False, "minItems": 1}, ""),
        ({"enum": []}, ""),
        ({"enum": ["a"], "type": "integer"}, ""),
        ({"allOf": [{"type": "string"}, {"type": "null"}]}, ""),
        ({"anyOf": [False, {"enum": []}]}, "/anyOf/1"),
        ({"type": "object", "properties": {"a/b": False}, "required": ["a/b"]}, "/properties/a~1b"),
        (
            {"type": "object", "properties": {}, "required": ["a"], "additionalProperties": False},
            "/required",
        ),
    ],
    ids=str,
)
def test_a_contradiction_is_an_error(schema, pointer):
    with pytest.raises(UnsatisfiableSchema) as caught:
        parse_schema(schema)
    assert caught.value.pointer == pointer


def test_an_optional_property_without_a_value_is_left_out():
    schema = {
        "type": "object",
        "properties": {"a": False, "b": {"type": "boolean", "enum": ["x"]}, "c": INT},
    }
    assert [one.name for one in parse_schema(schema).properties] == ["c"]


@pytest.mark.parametrize(
    ("schema", "pointer"),
    [
        ({"type": "strnig"}, "/type"),
        ({"type": []}, "/type"),
        ({"properties": []}, "/properties"),
        ({"properties": {"a": 3}}, "/properties/a"),
        ({"required": "a"}, "/required"),
        ({"minLength": -1}, "/minLength"),
        ({"maximum": "3"}, "/maximum"),
        ({"minimum": float("nan")}, "/minimum"),
        ({"multipleOf": 0}, "/multipleOf"),
        ({"anyOf": []}, "/anyOf"),
        ({"enum": [float("inf")]}, ""),
        ({"allOf": [{"required": 3}]}, "/allOf/0/required"),
        ({"not": {"type": "strnig"}}, "/not/type"),
        ({"patternProperties": {"a": {"minimum": "3"}}}, "/patternProperties/a/minimum"),
        (3, ""),
    ],
    ids=str,
)
def test_a_malformed_schema_is_an_error_with_a_pointer(schema, pointer):
    with pytest.raises(InvalidSchema) as caught:
        parse_schema(schema)
    assert caught.value.pointer == pointer


def test_an_id_beside_a_reference_means_nothing_in_old_drafts():
    schema = {
        "$id": "http://a.b/base/",
        "definitions": {
            "far": {"$id": "http://a.b/foo.json", "type": "string"},
            "near": {"$id": "foo.json", "type": "number"},
        },
        "allOf": [{"$id": "http://a.b/", "$ref": "foo.json"}],
    }
    old = {**schema, "$schema": "http://json-schema.org/draft-07/schema#"}
    assert parse_schema(old) == Number("")
    assert parse_schema(schema) == String("")


def test_a_property_may_have_the_name_of_a_word():
    inner = {"type": "object", "properties": {"default": {"$ref": "#"}}}
    schema = {
        "type": "object",
        "properties": {"enum": {"$anchor": "x", **inner}, "a": {"$ref": "#x"}},
    }
    node = parse_schema(schema)
    assert [one.name for one in node.properties] == ["enum", "a"]
    assert node.properties[1].node.properties[0].name == "default"


def test_an_id_that_is_no_text_is_an_error_at_its_pointer():
    with pytest.raises(InvalidSchema) as caught:
        parse_schema({"properties": {"a": {"$id": 5}}})
    assert caught.value.pointer == "/properties/a/$id"
