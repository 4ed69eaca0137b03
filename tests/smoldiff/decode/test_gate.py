"""What the last gate lets through, and what it says of the rest."""

import json

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoldiff.decode.gate import read_calls, read_value
from smoldiff.errors import InvalidCall, UnsupportedSchema
from smoldiff.scaffold.answer import CallStyle
from smoldiff.schema.source import read_source

HERMES = CallStyle()
BARE = CallStyle("", "", "", "name", "parameters", ())
LISTED = CallStyle("[CALLS]", "", ", ")
ECHO = {"name": "echo", "parameters": {"properties": {"a": {"type": "number"}}, "required": ["a"]}}


def value(text, schema):
    return read_value(text, read_source(schema)).arguments


def calls(text, style=HERMES, tool=ECHO):
    return read_calls(text, read_source([tool]), style)


@pytest.mark.parametrize("text", ['{"a": 1}', ' {"a": 1}', '{"a": 1}\n'])
def test_whitespace_around_a_value_is_free(text):
    call = read_value(text, read_source({"type": "object"}))
    assert (call.name, call.arguments, call.text) == (None, {"a": 1}, text)


@pytest.mark.parametrize("style", [HERMES, BARE, LISTED])
@pytest.mark.parametrize("around", ["", "\n", "  "])
def test_calls_are_read_in_every_frame_with_free_whitespace_around(style, around):
    body = f'{{"{style.name_key}": "echo", "{style.arguments_key}": {{"a": 1}}}}'
    one = style.begin + body + style.end
    for count in (1, 2):
        read = calls(around + style.between.join([one] * count) + around, style)
        assert [(c.name, c.arguments, c.text) for c in read] == [
            ("echo", {"a": 1}, '{"a": 1}')
        ] * count


def test_no_text_is_no_call():
    assert calls("", BARE) == calls(" \n", HERMES) == ()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("hello", "text behind the last call"),
        ('<tool_call>{"name": "echo", "arguments": {"a": 1}}', "does not end in"),
        ("<tool_call>[]</tool_call>", "no call of a known tool"),
        ('<tool_call>{"name": []}</tool_call>', "no call of a known tool"),
        ('<tool_call>{"name": "echo"}</tool_call>', "the call has no 'arguments'"),
        ("<tool_call>{</tool_call>", "not JSON"),
        ('<tool_call>{"name": "echo", "arguments": {}}</tool_call>', "'a' is a required"),
    ],
)
def test_what_is_no_valid_call_is_refused(text, problem):
    with pytest.raises(InvalidCall, match=problem):
        calls(text)


def test_a_tool_named_as_the_arguments_key_is_read():
    tool = {**ECHO, "name": "arguments"}
    (call,) = calls(
        '<tool_call>{"name": "arguments", "arguments": {"a": 1}}</tool_call>', tool=tool
    )
    assert call.text == '{"a": 1}'


def test_an_answer_is_judged_by_what_the_caller_gave_and_not_by_what_was_closed():
    (call,) = calls('<tool_call>{"name": "echo", "arguments": {"a": 1, "b": 2}}</tool_call>')
    assert call.arguments == {"a": 1, "b": 2}

    class Point(pydantic.BaseModel):
        x: int

    assert value('{"x": 1, "y": 2}', Point) == {"x": 1, "y": 2}


@pytest.mark.parametrize(
    ("text", "schema"),
    [
        ("19.99", {"multipleOf": 0.01}),
        ("1.1", {"multipleOf": 0.1, "type": "number"}),
        ("7", {"multipleOf": 3.5}),
        ("1e300", {"multipleOf": 0.01}),
        ("2.0", {"type": "integer"}),
        ("0.1", {"const": 0.1}),
        ("0.10", {"enum": [0.1]}),
        ("0e-999", {"const": 0}),
        ("0.5", {"$schema": "http://json-schema.org/draft-03/schema#", "divisibleBy": 0.1}),
    ],
)
def test_numbers_are_judged_as_they_are_written(text, schema):
    assert value(text, schema) == float(text)
    assert type(value(text, schema)) in (int, float)


@pytest.mark.parametrize(
    ("text", "schema", "problem"),
    [
        ("19.995", {"multipleOf": 0.01}, "^arguments at .root.: 19.995 is not a multiple of 0.01$"),
        ("1.5", {"type": "integer"}, "1.5 is not of type 'integer'"),
        ("1e999", {}, "number out of range: 1e999"),
        ("[-1e999]", {}, "number out of range: -1e999"),
        ("1e-999", {}, "number out of range: 1e-999"),
        ("1e99999999999999999999", {}, "number out of range"),
        ("NaN", {}, "NaN is not JSON"),
        ("1" * 10_000, {}, "number out of range: an integer of 10000 digits"),
        ('{"a": 1, "b": {"a": 1, "a": 2}}', {}, "the key 'a' stands twice in one object"),
        (r'["\ud83d"]', {}, "half a surrogate pair"),
        ('"\ud83d"', {}, "half a surrogate pair"),
        ('"a"\xa0', {}, r"text behind the value: '\\xa0'"),
        ("2.0", {"$schema": "http://json-schema.org/draft-04/schema#", "type": "integer"}, "2.0"),
        ("1 2", {}, "text behind the value: ' 2'"),
        ("[" * 100_000, {}, "nested too deeply|not JSON"),
        ("true", {"type": "number"}, "True is not of type"),
    ],
)
def test_what_is_no_valid_value_is_refused(text, schema, problem):
    with pytest.raises(InvalidCall, match=problem):
        value(text, schema)


@pytest.mark.parametrize(
    ("schema", "pointer", "problem"),
    [
        ({"pattern": "("}, "/pattern", r"the pattern '\(' cannot be read"),
        ({"not": {"$ref": "#/$defs/missing"}}, "/not/$ref", "'#/.defs/missing' leads nowhere"),
        ({"not": {"$ref": "http://localhost:1/x"}}, "/not/$ref", "nothing is ever fetched"),
        ({"$ref": "#/x/y", "x": {"y": {"type": "strin"}}}, "/x/y/type", "no type 'strin'"),
        ({"not": {"$ref": "#/not"}}, "/not/$ref", "leads only to itself"),
    ],
)
def test_a_schema_that_cannot_be_judged_by_is_at_fault(schema, pointer, problem):
    with pytest.raises(UnsupportedSchema, match=problem) as caught:
        value('"ab"', schema)
    assert caught.value.pointer == pointer


def test_a_pair_of_surrogates_is_a_character():
    assert value(r'"\ud83d\ude00"', {"maxLength": 1}) == "\N{GRINNING FACE}"


def test_a_key_that_stands_twice_in_the_call_is_refused():
    body = '{"name": "echo", "arguments": {"a": 1}, "arguments": {"a": 2}}'
    with pytest.raises(InvalidCall, match="a key stands twice"):
        calls(f"<tool_call>{body}</tool_call>")


@pytest.mark.parametrize("space", ["", " ", "\n\t"])
def test_what_is_judged_is_what_is_returned(space):
    inner = '{"arguments": {"a": 1}, "\\"arguments\\": 1": []}'
    members = [f'"id": {inner}', '"name": "echo"', '"arguments": {"a": "x"}']
    text = "{" + space + f"{space},{space}".join(members) + space + "}"
    with pytest.raises(InvalidCall, match="'x' is not of type 'number'"):
        calls(f"<tool_call>{text}</tool_call>")
    (call,) = calls(f"<tool_call>{text}</tool_call>".replace('"x"', "2"))
    assert (call.arguments, call.text) == ({"a": 2}, '{"a": 2}')


def test_a_fault_says_where_it_is():
    with pytest.raises(InvalidCall) as caught:
        value('{"a/b": [1, "x"]}', {"properties": {"a/b": {"items": {"type": "integer"}}}})
    assert caught.value.pointer == "/a~1b/1"


def test_a_value_too_deep_to_be_checked_is_refused():
    schema = {"$ref": "#/$defs/l", "$defs": {"l": {"items": {"$ref": "#/$defs/l"}}}}
    with pytest.raises(InvalidCall, match="nested too deeply"):
        value("[" * 900 + "]" * 900, schema)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@given(VALUES, st.booleans(), st.sampled_from([None, 1]))
def test_every_json_value_is_read_as_json_reads_it(written, is_ascii, indent):
    text = json.dumps(written, ensure_ascii=is_ascii, indent=indent)
    assert value(text, {}) == written


@given(
    st.dictionaries(TEXTS, VALUES, max_size=3),
    st.lists(
        st.tuples(TEXTS.map("x{}".format), VALUES), max_size=3, unique_by=lambda member: member[0]
    ),
    st.sampled_from([None, 1]),
    st.randoms(),
)
def test_the_arguments_are_found_among_any_other_members(arguments, others, indent, random):
    members = [("name", "any"), ("arguments", arguments), *others]
    random.shuffle(members)
    body = json.dumps(dict(members), indent=indent)
    (call,) = calls(
        f"<tool_call>{body}</tool_call>", tool={"name": "any", "parameters": {"type": "object"}}
    )
    assert call.arguments == json.loads(call.text) == arguments
