"""Resuming by example: where a prefix may break off, what it decides, what it may not be."""

import json

import pytest

from smoldiff.scaffold.compile import compile_schema
from smoldiff.scaffold.cursor import Choices, Gap, NotAPrefix
from smoldiff.scaffold.pieces import Literal
from smoldiff.scaffold.style import COMPACT

WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "date": {"type": "string", "format": "date"},
        "data": {"type": "boolean"},
        "days": {"type": "integer", "minimum": 1, "maximum": 14},
        "unit": {"enum": ["celsius", "fahrenheit", "zoé"]},
    },
    "required": ["city", "days"],
    "additionalProperties": False,
}
TAGS = {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 3}
TOOLS = [
    {"name": "weather", "parameters": WEATHER},
    {"name": "weather_tags", "parameters": {"properties": {"tags": TAGS}}},
]


def shown(rest):
    """The remainder as one text, gaps as <written>."""
    return "".join(
        piece.text if isinstance(piece, Literal) else f"<{piece.written}>" for piece in rest.pieces
    )


def after(schema, prefix, **choices):
    return shown(compile_schema(schema).resume(prefix, Choices(**choices)))


@pytest.mark.parametrize(
    ("prefix", "rest"),
    [
        ("", '{"city": "<>", "days": <>}'),
        ('{"ci', 'ty": "<>", "days": <>}'),
        ('{"city": "Par', '<Par>", "days": <>}'),
        ('{"city": "a\\', '<a\\>", "days": <>}'),
        ('{"city": "a\\u00', '<a\\u00>", "days": <>}'),
        ('{"city": "a"', ', "days": <>}'),
        ('{"city": "a",', ' "days": <>}'),
        ('{"city": "a", "da', 'ys": <>}'),
        ('{"city": "a", "dat', 'e": "<>", "days": <>}'),
        ('{"city": "a", "data": tr', '<tr>, "days": <>}'),
        ('{"city": "a", "data": true', ', "days": <>}'),
        ('{"city": "a", "days": 1', "<1>}"),
        ('{"city": "a", "days": 12, "unit": "', '<>"}'),
        ('{"city": "a", "days": 12, "unit": "c', '<c>"}'),
        ('{"city": "a", "days": 12, "unit": "zo\\u00e', '<zo\\u00e>"}'),
        ('{"city": "a", "days": 12, "unit": "zo\\u00e9"', "}"),
        ('{"city": "a", "days": 12}', ""),
    ],
)
def test_what_follows_a_prefix(prefix, rest):
    assert after(WEATHER, prefix) == rest


def test_the_given_choice_breaks_a_tie_between_keys():
    assert (
        after(WEATHER, '{"city": "a", "da', keys={"": frozenset({"data"})})
        == 'ta": <>, "days": <>}'
    )


def test_given_choices_shape_what_is_not_written_yet():
    schema = {
        "type": "object",
        "properties": {"tags": TAGS, "who": {"anyOf": [{"type": "null"}, WEATHER]}},
    }
    rest = after(
        schema,
        "",
        keys={"": frozenset({"tags", "who", "unknown"}), "/who": frozenset({"unit"})},
        lengths={"/tags": 2},
        branches={"/who": 1},
    )
    assert rest == '{"tags": [<>, <>], "who": {"city": "<>", "days": <>, "unit": "<>"}}'


def test_numbers_that_do_not_fit_are_ignored():
    schema = {"type": "object", "properties": {"tags": TAGS}, "required": ["tags"]}
    assert after(schema, "", lengths={"/tags": 99}) == '{"tags": [<>, <>, <>]}'
    assert after({"anyOf": [{"type": "null"}, TAGS]}, "", branches={"": 7}) == "null"


def test_the_prefix_overrules_the_given_choices():
    rest = compile_schema(TAGS).resume("[1, 2]", Choices(lengths={"": 3, "/other": 1}))
    assert rest.is_complete
    assert rest.choices.lengths == {"": 2, "/other": 1}


def test_the_tool_is_decided_by_as_much_of_its_name_as_it_takes():
    scaffold = compile_schema(TOOLS)
    assert shown(scaffold.resume('<tool_call>\n{"name": "weather')).startswith(
        '", "arguments": {"city"'
    )
    rest = scaffold.resume('<tool_call>\n{"name": "weather_')
    assert rest.choices.branches == {"/0": 1}
    assert shown(rest) == 'tags", "arguments": {}}\n</tool_call>'


def test_a_special_text_stays_whole_until_it_is_begun():
    scaffold = compile_schema(TOOLS)
    assert scaffold.resume("").pieces[0] == Literal("<tool_call>", is_special=True)
    assert scaffold.resume("<tool").pieces[0].text.startswith("_call>\n")
    assert scaffold.resume("").pieces[-1] == Literal("</tool_call>", is_special=True)


def test_calls_repeat_up_to_the_limit():
    scaffold = compile_schema(TOOLS, max_calls=2)
    one = '<tool_call>\n{"name": "weather_tags", "arguments": {}}\n</tool_call>'
    assert scaffold.resume(one).is_complete
    assert shown(scaffold.resume(one, Choices(lengths={"": 2}))).startswith("\n<tool_call>")
    rest = scaffold.resume(one + "\n")
    assert rest.choices.lengths == {"": 2}
    assert [piece.pointer for piece in rest.pieces if isinstance(piece, Gap)] == [
        "/1/arguments/city",
        "/1/arguments/days",
    ]
    with pytest.raises(NotAPrefix):
        scaffold.resume(f"{one}\n{one}\n")


def test_fields_tell_where_each_value_stands_and_whether_it_is_done():
    text = '{"city": "Paris", "days": 12'
    fields = compile_schema(WEATHER).resume(text).fields
    assert [(f.pointer, text[f.start : f.end], f.is_done) for f in fields] == [
        ("/city", "Paris", True),
        ("/days", "12", False),
    ]


def test_other_keys_of_an_open_object_come_last_with_any_value():
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    assert after(schema, '{"a": 1, "x/y": {"z": [1, "}"') == '<{"z": [1, "}">}'
    assert after(schema, '{"a": 1, "x": null, "y": 2}') == ""
    assert after(schema, '{"a": 1, "x') == '<x>": <>}'
    with pytest.raises(NotAPrefix):
        compile_schema(schema).resume('{"x": 1')


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ([{"type": "integer", "maximum": 9}, {"type": "integer", "minimum": 100}], "150"),
        ([{"type": "integer"}, {"type": "number"}], "1.5"),
        ([{"const": 1}, {"type": "integer"}], "12"),
        ([{"type": "string", "format": "date"}, {"type": "string"}], '"hello"'),
        ([{"type": "string", "pattern": "^a"}, {"type": "string", "pattern": "^b"}], '"bb"'),
        ([{"type": "integer", "multipleOf": 7}, {"type": "integer"}], "13"),
        ([{"enum": ["a", "b"]}, {"type": "string"}], '"ab"'),
        (
            [
                {"type": "object", "properties": {"a": {}}},
                {"type": "object", "properties": {"b": {}}},
            ],
            '{"b": 1}',
        ),
        ([{"type": "null"}, {"enum": [1, "a", [1, 2]]}], "[1, 2]"),
    ],
    ids=str,
)
def test_a_union_takes_the_option_that_the_whole_value_fits(options, text):
    rest = compile_schema({"type": "array", "items": {"anyOf": options}}).resume(f"[{text}, ")
    assert rest.choices.branches["/0"] == 1


@pytest.mark.parametrize("pattern", ["(?<x>a)", "[[a]b--c]", "a{99999999999}", "("])
def test_a_pattern_that_python_cannot_compile_is_not_looked_at(pattern):
    schema = {"type": "array", "items": {"type": "string", "pattern": pattern}}
    assert compile_schema(schema).resume('["b"').fields[0].is_done


def test_a_pattern_never_refuses_a_text_that_the_grammar_let_pass():
    schema = {"type": "array", "items": {"type": "string", "pattern": "^a$", "format": "date"}}
    assert compile_schema(schema).resume('["b"').fields[0].is_done


@pytest.mark.parametrize(
    ("prefix", "idx"),
    [
        ("x", 0),
        ('{"city": "a", "unit"', 12),
        ('{"city": "a"}', 12),
        ('{"city": "a", "days": 1.5', 22),
        ('{"city": "a", "days": 0,', 22),
        ('{"city": "a", "days": 15', 22),
        ('{"city": "a", "days": 12, "unit": "k', 35),
        ('{"city": "\n', 10),
        ('{"city": "a", "days": 12} ', 25),
    ],
)
def test_a_text_that_cannot_go_on_is_refused_with_its_place(prefix, idx):
    with pytest.raises(NotAPrefix) as caught:
        compile_schema(WEATHER).resume(prefix)
    assert caught.value.index == idx


def test_a_bare_number_is_never_known_to_be_complete():
    rest = compile_schema({"type": "integer"}).resume("12")
    assert not rest.is_complete
    assert rest.pieces[0].written == "12"


def test_the_style_spaces_everything_alike():
    scaffold = compile_schema(
        {"type": "array", "items": {"const": {"a": [1, 2]}}, "minItems": 2}, json_style=COMPACT
    )
    assert shown(scaffold.resume()) == '[{"a":[1,2]},{"a":[1,2]}]'


def test_unions_inside_unions_take_linear_time():
    schema = {"type": "integer"}
    defs = {}
    for level in range(15):
        defs[f"d{level}"] = schema
        ref = {"$ref": f"#/$defs/d{level}"}
        schema = {"anyOf": [tagged(ref, "a"), tagged(ref, "b")]}
    value = 1
    for _ in range(15):
        value = {"x": value, "tag": "b"}
    rest = compile_schema({**schema, "$defs": defs}).resume(json.dumps(value))
    assert rest.is_complete
    assert len(rest.choices.branches) == 15


def tagged(inner, tag):
    properties = {"x": inner, "tag": {"const": tag}}
    return {
        "type": "object",
        "properties": properties,
        "required": ["x", "tag"],
        "additionalProperties": False,
    }
