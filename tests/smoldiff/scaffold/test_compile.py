"""Compiling: the cache, the call style, and schemas that mean harm."""

import contextlib
import gc
import json
import subprocess
import sys

import pydantic
import pytest

from smoldiff.errors import InvalidSchema, RequestError, SchemaError, UnsupportedSchema
from smoldiff.scaffold.answer import CallStyle
from smoldiff.scaffold.compile import compile_schema
from smoldiff.scaffold.cursor import NotAPrefix
from smoldiff.scaffold.pieces import Literal, Slot
from smoldiff.schema.nodes import Opaque

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


class Trip(pydantic.BaseModel):
    """Books a trip."""

    city: str
    days: int = pydantic.Field(ge=1, le=9)
    note: str | None = None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"const": 1}, {"const": True}),
        ({"const": 1}, {"const": 1.0}),
        ({"enum": ["a", "b"]}, {"enum": ["b", "a"]}),
        ({"const": "é"}, {"const": "e\u0301"}),
    ],
)
def test_what_differs_in_content_is_not_one_schema_in_the_cache(one, other):
    assert compile_schema(one) is compile_schema(dict(one))
    assert compile_schema(one) is not compile_schema(other)


def test_the_cache_goes_by_content():
    copy = json.loads(json.dumps(SCHEMA))
    assert compile_schema(SCHEMA) is compile_schema(copy)
    assert compile_schema(SCHEMA, max_calls=2) is not compile_schema(SCHEMA)


def test_a_changed_schema_compiles_anew_and_leaves_the_old_scaffold_alone():
    schema = json.loads(json.dumps(SCHEMA))
    before = compile_schema(schema)
    schema["properties"]["a"]["type"] = "boolean"
    assert compile_schema(schema) is not before
    assert before.source.schema == SCHEMA


def test_a_pydantic_class_compiles_alone_and_as_a_tool():
    assert '"city": "' in compile_schema(Trip).resume().text(lambda gap: "")
    text = compile_schema([Trip]).resume().text(lambda gap: "1")
    assert (
        text == '<tool_call>\n{"name": "Trip", "arguments": {"city": "1", "days": 1}}\n</tool_call>'
    )


def test_the_call_style_is_the_text_around_a_call():
    style = CallStyle("[", "]", ", ", "tool", "args", special=())
    scaffold = compile_schema([{"name": "f", "parameters": {}}], call_style=style, max_calls=2)
    assert scaffold.resume().pieces == (Literal('[{"tool": "f", "args": {}}]'),)


def test_pointers_lead_into_what_was_given():
    tools = [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}]
    (slot,) = [
        piece.slot
        for piece in compile_schema(tools).resume().pieces
        if not isinstance(piece, Literal)
    ]
    assert slot.pointer == "/0/function/parameters/properties/a"


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"enum": [object()]}, "no JSON value"),
        ({"enum": ["\ud800"]}, "surrogates"),
        ({1: {"type": "integer"}, "type": "x"}, "type must be"),
        (print, "function"),
        ('{"type": "object"}', "json.loads"),
    ],
    ids=["object", "surrogate", "keys", "callable", "text"],
)
def test_what_is_not_json_is_an_error(schema, words):
    with pytest.raises(InvalidSchema, match=words):
        compile_schema(schema)


def test_less_than_one_call_is_an_error():
    with pytest.raises(RequestError, match="max_calls"):
        compile_schema(SCHEMA, max_calls=0)


def test_absurd_nesting_is_an_error_and_no_overflow():
    deep = {"type": "integer"}
    for _ in range(5_000):
        deep = {"properties": {"a": deep}}
    with pytest.raises(UnsupportedSchema, match="deep"):
        compile_schema(deep)
    cyclic = {}
    cyclic["properties"] = cyclic
    with pytest.raises(UnsupportedSchema, match="deep"):
        compile_schema(cyclic)


def test_a_long_chain_of_references_loses_its_template_at_some_depth():
    defs = {
        f"d{n}": {"type": "object", "properties": {"a": {"$ref": f"#/$defs/d{n + 1}"}}}
        for n in range(500)
    }
    for names in (list(defs), list(reversed(defs))):
        ordered = {name: defs[name] for name in names}
        schema = {"type": "object", "properties": {n: {"$ref": f"#/$defs/{n}"} for n in names}}
        compile_schema({**schema, "$defs": {**ordered, "d500": {"type": "integer"}}}).resume('{"')


def test_an_exponential_schema_is_cut_short():
    defs = {"d0": {"type": "integer"}}
    for n in range(40):
        ref = {"$ref": f"#/$defs/d{n}"}
        defs[f"d{n + 1}"] = {
            "type": "object",
            "properties": {"a": ref, "b": ref},
            "required": ["a", "b"],
        }
    scaffold = compile_schema({"$ref": "#/$defs/d40", "$defs": defs})
    assert len(scaffold.resume().pieces) < 10_000


def test_an_exponential_merge_is_cut_short():
    defs = {"d0": {"type": "integer"}}
    for n in range(40):
        ref = {"$ref": f"#/$defs/d{n}"}
        defs[f"d{n + 1}"] = {"allOf": [ref, {"anyOf": [ref, ref]}]}
    assert compile_schema({"$ref": "#/$defs/d40", "$defs": defs})


def test_a_billion_items_get_no_template():
    scaffold = compile_schema({"type": "array", "items": {"type": "integer"}, "minItems": 10**9})
    assert isinstance(scaffold.root, Slot)
    assert isinstance(scaffold.root.language, Opaque)


@pytest.mark.parametrize("bound", [10**400, -(10**400), 1e308, 5e-324])
def test_numbers_may_be_of_any_size(bound):
    schema = {
        "anyOf": [
            {"type": "integer", "minimum": bound},
            {"type": "number", "multipleOf": abs(bound)},
        ]
    }
    scaffold = compile_schema({"type": "array", "items": schema})
    for text in ("[1", "[1" + "0" * 5_000, "[-1e999, 0.5, " + "9" * 399 + ".5, "):
        with contextlib.suppress(NotAPrefix):
            scaffold.resume(text)


def test_compiling_imports_nothing_heavy():
    code = (
        "import sys; from smoldiff.scaffold.compile import compile_schema; from smoldiff.scaffold.explain import explain;"
        f"compile_schema({SCHEMA!r});"
        "print({'torch', 'jsonschema', 'rich', 'pydantic', 'llguidance', 'transformers'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"


def test_every_schema_error_has_a_pointer():
    with pytest.raises(SchemaError) as caught:
        compile_schema([{"name": "f", "parameters": {"properties": {"a": {"type": "txt"}}}}])
    assert caught.value.pointer == "/0/parameters/properties/a/type"


def test_one_value_that_stands_in_a_schema_many_times_is_refused_by_its_written_length():
    shared = {"const": "a"}
    for _ in range(60):
        shared = {"anyOf": [shared, shared]}
    with pytest.raises(UnsupportedSchema, match="share parts by"):
        compile_schema(shared)


@pytest.mark.parametrize("is_enabled", [True, False])
@pytest.mark.parametrize("schema", [{"type": "integer", "title": "kept"}, {"type": 5}], ids=str)
def test_the_garbage_collector_is_left_as_it_was(is_enabled, schema):
    (gc.enable if is_enabled else gc.disable)()
    try:
        with contextlib.suppress(SchemaError):
            compile_schema(schema)
        assert gc.isenabled() == is_enabled
    finally:
        gc.enable()
