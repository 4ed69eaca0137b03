"""Any cut of any valid text resumes, and the remainder leads back to the same text."""

import json
import re

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smoldiff.scaffold.compile import compile_schema
from smoldiff.scaffold.cursor import NotAPrefix
from smoldiff.scaffold.explain import explain
from smoldiff.scaffold.pieces import Literal, holds_content
from smoldiff.scaffold.style import COMPACT, SPACED
from smoldiff.schema.nodes import Boolean, Enum, Integer, Number, Opaque, String

NAMES = st.sampled_from(["a", "b", "city", "da", "date", "data", "a/b", "ü~", 'q"'])
TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
ATOMS = st.one_of(st.none(), st.booleans(), st.integers(-200, 200), TEXTS)


@st.composite
def strings(draw):
    low = draw(st.integers(0, 2))
    schema = {"type": "string", **draw(st.sampled_from([{}, {"minLength": low, "maxLength": 8}]))}
    if draw(st.booleans()):
        return {"type": "string", "format": "date"}, st.dates().map(str)
    return schema, st.text(st.characters(codec="utf-8"), min_size=low, max_size=8)


@st.composite
def numbers(draw):
    low, high = sorted(draw(st.tuples(st.integers(-150, 150), st.integers(-150, 150))))
    if draw(st.booleans()):
        return {"type": "integer", "minimum": low, "maximum": high}, st.integers(low, high)
    return {"type": "number", "minimum": low}, st.floats(low, 1e9)


@st.composite
def enums(draw):
    values = draw(st.lists(draw(st.sampled_from([TEXTS, ATOMS])), min_size=1, max_size=4))
    return {"enum": values}, st.sampled_from(values)


@st.composite
def objects(draw, inner):
    parts = draw(st.dictionaries(NAMES, inner, min_size=1, max_size=4))
    required = [name for name in parts if draw(st.booleans())]
    schema = {
        "type": "object",
        "properties": {name: part[0] for name, part in parts.items()},
        "required": required,
    }
    if draw(st.booleans()):
        schema["additionalProperties"] = False

    @st.composite
    def values(draw):
        return {
            n: draw(part[1]) for n, part in parts.items() if n in required or draw(st.booleans())
        }

    return schema, values()


@st.composite
def arrays(draw, inner):
    schema, values = draw(inner)
    low = draw(st.integers(0, 2))
    return {"type": "array", "items": schema, "minItems": low, "maxItems": 3}, st.lists(
        values, min_size=low, max_size=3
    )


@st.composite
def unions(draw, inner):
    parts = draw(st.lists(inner, min_size=1, max_size=3))
    return {"anyOf": [schema for schema, _ in parts]}, st.one_of([values for _, values in parts])


LEAVES = st.one_of(
    strings(),
    numbers(),
    enums(),
    st.just(({"type": "boolean"}, st.booleans())),
    st.just(({}, ATOMS | st.lists(ATOMS))),
)
SCHEMAS = st.recursive(
    LEAVES, lambda inner: objects(inner) | arrays(inner) | unions(inner), max_leaves=8
)


@st.composite
def cases(draw):
    """A scaffold and one of its texts: a bare value, or calls of tools."""
    style = draw(st.sampled_from([SPACED, COMPACT]))
    if draw(st.booleans()):
        schema, values = draw(SCHEMAS)
        return compile_schema(schema, json_style=style), style.dumps(draw(values))
    parts = draw(st.lists(objects(SCHEMAS), min_size=1, max_size=3))
    tools = [{"name": f"tool{idx}", "parameters": schema} for idx, (schema, _) in enumerate(parts)]
    scaffold = compile_schema(tools, json_style=style, max_calls=2)
    chosen = draw(st.lists(st.integers(0, len(tools) - 1), min_size=1, max_size=2))
    calls = [
        style.dumps({"name": f"tool{idx}", "arguments": draw(parts[idx][1])}) for idx in chosen
    ]
    return scaffold, "\n".join(f"<tool_call>\n{call}\n</tool_call>" for call in calls)


@settings(max_examples=120, deadline=None, derandomize=True)
@given(cases())
def test_every_cut_of_a_text_resumes_to_the_same_text(case):
    scaffold, text = case
    whole = scaffold.resume(text)
    values = {field.pointer: text[field.start : field.end] for field in whole.fields}
    assert all(isinstance(piece, Literal) or piece.written for piece in whole.pieces)
    for cut in range(len(text) + 1):
        rest = scaffold.resume(text[:cut], whole.choices)
        assert text[:cut] + rest.text(lambda gap: values[gap.pointer][len(gap.written) :]) == text


@settings(max_examples=120, deadline=None, derandomize=True)
@given(cases(), st.data())
def test_a_spoilt_text_is_read_or_refused(case, data):
    scaffold, text = case
    at = data.draw(st.integers(0, len(text)))
    junk = data.draw(
        st.sampled_from(
            ['"', "\\", "\\u", "{", "}", "]", ",", "1", "e", ".", "-", "\n", "null", '"k": ']
        )
    )
    spoilt = text[:at] + junk + text[at + data.draw(st.integers(0, 2)) :]
    idx = first_bad(scaffold, spoilt)
    assert 0 <= idx <= len(spoilt)
    assert first_bad(scaffold, spoilt[: min(at, idx)]) == min(at, idx)


def first_bad(scaffold, text):
    """The index where the text cannot go on, its length where it can."""
    try:
        fields = scaffold.resume(text).fields
    except NotAPrefix as error:
        return error.index
    assert all(field.start <= field.end <= len(text) for field in fields)
    return len(text)


@settings(max_examples=120, deadline=None, derandomize=True)
@given(SCHEMAS)
def test_the_smallest_answer_is_valid(part):
    schema, _ = part
    scaffold = compile_schema(schema)
    text = scaffold.resume().text(lambda gap: simplest(gap.slot.language))
    jsonschema.validate(json.loads(text), schema)
    assert scaffold.resume(text).is_complete or re.search(r"\d$", text)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(cases())
def test_explain_never_fails(case):
    scaffold, _ = case
    assert "The smallest answer" in str(explain(scaffold))


def simplest(language):
    match language:
        case String(formats=("date",)):
            return "2026-01-31"
        case String(min_length=shortest):
            return "x" * shortest
        case Integer(minimum=low) | Number(minimum=low):
            return str(low or 0)
        case Boolean():
            return "true"
        case Enum(texts=(first, *_)):
            return first[1:-1] if holds_content(language) else first
        case Opaque():
            return "null"
        case _:
            pytest.fail(f"no value for {language}")
