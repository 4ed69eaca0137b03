"""What is wrong with a value, and that judging it always ends."""

import json

import pytest
from slowness import within

from smoldiff.errors import UnsupportedSchema
from smoldiff.schema.validation import Fault, decoder, faults, first_error

EXACT = decoder(is_exact=True)


def found(text, schema):
    return [(fault.pointer, fault.keyword) for fault in faults(EXACT.decode(text), schema)]


def is_valid(value, schema):
    return first_error(value, schema) is None


def test_a_valid_value_has_no_faults():
    assert faults({}, {"type": "object"}) == []
    assert first_error({}, {"type": "object"}) is None


def test_every_leaf_is_a_fault_and_the_deepest_come_first():
    schema = {
        "properties": {"a": {"properties": {"b": {"maxLength": 1}}}, "c": {"type": "null"}},
        "required": ["d"],
    }
    text = '{"a": {"b": "xy"}, "c": 1}'
    assert found(text, schema) == [("/a/b", "maxLength"), ("/c", "type"), ("", "required")]
    (deepest, *_) = faults(json.loads(text), schema)
    assert deepest == Fault("/a/b", "'xy' is too long", "maxLength")


@pytest.mark.parametrize("word", ["anyOf", "oneOf"])
@pytest.mark.parametrize(
    ("branches", "text", "expected"),
    [
        (
            [{"type": "string"}, {"type": "object", "required": ["n"]}],
            "{}",
            [("", "required")],
        ),
        (
            [
                {"properties": {"kind": {"const": "a"}, "x": {"type": "integer"}}},
                {"properties": {"kind": {"const": "b"}, "x": {"type": "string"}}},
            ],
            '{"kind": "a", "x": 1.5}',
            [("/x", "type")],
        ),
        ([False, {"items": {"maximum": 1}}], "[2, 3]", [("/0", "maximum"), ("/1", "maximum")]),
        (
            [{"anyOf": [{"type": "null"}, {"items": {"type": "null"}}]}, {"type": "string"}],
            "[1]",
            [("/0", "type"), ("", "anyOf")],
        ),
    ],
)
def test_a_union_tells_of_its_furthest_branch_and_of_itself(word, branches, text, expected):
    assert found(text, {word: branches}) == [*expected, ("", word)]


def test_what_several_branches_take_is_the_fault_of_the_union_alone():
    assert found("1", {"oneOf": [{}, {"type": "integer"}]}) == [("", "oneOf")]


def test_a_part_of_a_schema_can_judge():
    schema = {"properties": {"a/b": {"type": "null"}}}
    assert faults(1, schema, "/properties/a~1b")[0].keyword == "type"
    assert faults(None, schema, "/properties/a~1b") == []


def test_a_long_value_is_cut_in_the_message_and_the_problem_is_not():
    (fault,) = faults("x" * 10_000, {"enum": ["y" * 10_000]})
    assert "is not one of" in fault.problem
    assert len(fault.problem) < 300


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        ([1, True, "1", [1], [True]], {"uniqueItems": True}),
        ({"a": [1.0]}, {"const": {"a": [1]}}),
        ("B", {"$schema": "http://json-schema.org/draft-07/schema#", "not": {"pattern": "[^B]"}}),
        ({"ab": 1}, {"patternProperties": {r"^\w\p{L}$": {}}, "additionalProperties": False}),
        ({"a": 1, "b": 2}, {"properties": {"a": {}}, "anyOf": [{"required": ["b"], "properties": {"b": {}}}, False], "unevaluatedProperties": False}),
        ({"a": {"a": {}}}, {"$schema": "https://json-schema.org/draft/2020-12/schema", "additionalProperties": {"$ref": "#"}}),
        (7, {"format": "date"}),
        ("x", {"format": "unheard of"}),
    ],
)  # fmt: skip
def test_what_is_valid(value, schema):
    assert is_valid(value, schema)


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        ([1, EXACT.decode("1.0")], {"uniqueItems": True}),
        ([{"a": 1, "b": 2}, {"b": 2, "a": 1}], {"uniqueItems": True}),
        (1, {"enum": [True, "1"]}),
        ([True], {"const": [1]}),
        ({"a": 1, "b": 2}, {"properties": {"a": {}}, "unevaluatedProperties": False}),
        ([1, 2], {"prefixItems": [{}], "unevaluatedItems": False}),
        ("2023-02-29", {"format": "date"}),
        ("a\n", {"pattern": "a$"}),
    ],
)
def test_what_is_not(value, schema):
    assert not is_valid(value, schema)


def test_our_judgement_holds_below_a_root_that_names_its_dialect():
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "properties": {"a": {"$ref": "#"}, "n": {"multipleOf": 0.01, "type": "number"}},
    }
    assert is_valid(EXACT.decode('{"a": {"a": {"n": 19.99}}}'), schema)


DOUBLING = {
    "$defs": {
        f"d{i}": {"anyOf": [{"$ref": f"#/$defs/d{i + 1}"}, {"$ref": f"#/$defs/d{i + 1}"}]}
        for i in range(40)
    }
    | {"d40": {"type": "null"}},
    "$ref": "#/$defs/d0",
}


@pytest.mark.parametrize(
    ("schema", "number"),
    [
        ({"not": {"type": "integer"}}, "98260016918207109800.194161"),
        ({"not": {"multipleOf": 0.001}}, "75590000600980500.008499"),
        ({"exclusiveMaximum": 1}, "0.99999999999999999999"),
    ],
    ids=["no integer", "no multiple", "below a bound"],
)
def test_a_number_of_many_digits_is_valid_only_if_it_is_as_a_float_too(schema, number):
    assert not is_valid(EXACT.decode(number), schema)
    fault = first_error(
        EXACT.decode(f'{{"a": [{number}]}}'), {"properties": {"a": {"items": schema}}}
    )
    assert fault.pointer == "/a/0"
    assert is_valid(EXACT.decode(number), True)


@pytest.mark.parametrize("number", ["123456789012345.67", "0.1234567890123456789", "-1e-300"])
def test_numbers_of_many_digits_are_numbers(number):
    assert is_valid(EXACT.decode(number), {"type": "number", "not": {"type": "integer"}})


def nested(word, depth):
    schema = {"properties": {"a": {}}}
    for _ in range(depth):
        inner = {word: schema} if word == "if" else {word: [schema]}
        schema = {**inner, "unevaluatedProperties": False}
    return schema


CYCLES = [
    {"$ref": "#"},
    {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]},
    {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"allOf": [{"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"},
    {"unevaluatedProperties": False, "$ref": "#"},
    {"$schema": "https://json-schema.org/draft/2019-09/schema", "$recursiveRef": "#"},
    {"$dynamicAnchor": "x", "$dynamicRef": "#x"},
]  # fmt: skip


@pytest.mark.parametrize("schema", CYCLES)
def test_a_reference_that_never_ends_is_an_error(schema):
    with pytest.raises(UnsupportedSchema, match="leads only to itself"):
        first_error({"a": 1}, schema)


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        (DOUBLING, "more than 20000 references"),
        ({"maximum": float("inf")}, "Infinity is not JSON"),
        ({"const": {1, 2}}, "not JSON"),
        ({"maxLength": 10**5000}, "not JSON"),
        ({"pattern": "^(a|aa)+$", "maxLength": 10**400}, None),
        (nested("allOf", 40), None),
        (nested("anyOf", 40), None),
        (nested("if", 40), None),
    ],
    ids=str.split("doubling infinity set huge-bound large-bound all any if"),
)
def test_a_hostile_schema_is_an_error_or_judged_within_two_seconds(schema, problem):
    def judge():
        if problem is None:
            assert first_error({"a": 1}, schema) is None
        else:
            with pytest.raises(UnsupportedSchema, match=problem):
                first_error({"a": 1}, schema)

    within(2, judge)


@pytest.mark.parametrize(
    "part", [{"allOf": 5}, {"enum": 5}, {"minimum": "1"}, {"multipleOf": 0}, {"$ref": 5}, 5, None]
)
def test_what_is_no_schema_where_a_reference_leads_is_an_error(part):
    with pytest.raises(UnsupportedSchema, match="no schema"):
        first_error(1, {"$ref": "#/elsewhere", "elsewhere": part})


@pytest.mark.parametrize("ref", ["http://[x", "#/a~2", "#a b", "%zz", "http://localhost:1/x.json"])
def test_a_reference_that_leads_nowhere_is_an_error_at_its_pointer(ref):
    with pytest.raises(UnsupportedSchema, match="nothing is ever fetched") as caught:
        first_error(1, {"allOf": [{"$ref": ref}]}, at="/0/parameters")
    assert caught.value.pointer == "/0/parameters/allOf/0/$ref"


def test_what_an_embedded_resource_has_looked_at_is_found_by_its_own_base():
    inner = {"$id": "urn:q", "$defs": {"c": {"properties": {"a": True}}}, "$ref": "#/$defs/c"}
    assert is_valid({"a": 1}, {"allOf": [inner], "unevaluatedProperties": False})
    assert not is_valid({"b": 1}, {"allOf": [inner], "unevaluatedProperties": False})


MANY = 100_000


@pytest.mark.parametrize(
    ("value", "schema", "expected"),
    [
        ([{"a": i} for i in range(MANY)], {"uniqueItems": True}, True),
        ([[i] for i in range(MANY)] + [[0]], {"uniqueItems": True}, False),
        ("v99999", {"enum": [f"v{i}" for i in range(MANY)]}, True),
        ({"a": 1}, {"enum": [{"a": i} for i in range(MANY)]}, True),
        ("w", {"enum": [f"v{i}" for i in range(MANY)]}, False),
        (list(range(MANY)), {"items": {"type": "string"}}, False),
        ({f"k{i}": 1 for i in range(10_000)}, {"unevaluatedProperties": False}, False),
        ({f"k{i}": 1 for i in range(10_000)}, {"additionalProperties": {"type": "null"}}, False),
        (list(range(10_000)), {"contains": {"const": -1}, "unevaluatedItems": False}, False),
        ("a" * MANY, {"pattern": "^[a-z]*$", "format": "uri-reference"}, True),
        (EXACT.decode("1e300"), {"multipleOf": 1e-300}, True),
        (10**4000, {"multipleOf": 1e-300, "maximum": 10**4001}, True),
    ],
    ids=str.split(
        "unique-dicts repeated-list enum-string enum-dict enum-miss items unevaluated-properties "
        "additional unevaluated-items text small-step huge-integer"
    ),
)
def test_a_huge_value_is_judged_within_two_seconds(value, schema, expected):
    first_error(None, schema)  # the schema is read once
    for judged in (is_valid, lambda *both: not faults(*both)):

        def judge(judged=judged):
            assert judged(value, schema) == expected

        within(2, judge)


def test_a_value_nested_too_deeply_is_at_fault():
    value = []
    for _ in range(10_000):
        value = [value]
    assert "nested too deeply" in first_error(value, {"items": {"$ref": "#"}}).problem
    assert "nested too deeply" in first_error(value, {"uniqueItems": True}).problem
    assert is_valid(value, {"type": "array"})
