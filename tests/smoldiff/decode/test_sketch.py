"""The fullest answer that is likely: every optional key, an item in every array, and where its slots stand."""

import json

import pytest
from fakes import byte_tokenizer
from hypothesis import given, settings
from strategies import easy_schemas

from smoldiff.decode.sketch import MAX_SLOTS, sketch, sketch_draft
from smoldiff.errors import SchemaError
from smoldiff.scaffold.compile import compile_schema
from smoldiff.scaffold.cursor import NO_CHOICES, Choices, Gap, NotAPrefix
from smoldiff.scaffold.pieces import Literal, holds_content
from smoldiff.template.vocabulary import Vocabulary

TRIP = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "tags": {"type": "array", "items": {"type": "integer"}},
        "stops": {
            "type": "array",
            "items": {"type": "object", "properties": {"at": {"type": "string"}}},
            "maxItems": 3,
        },
        "pair": {"type": "array", "items": {"type": "boolean"}, "minItems": 2},
        "none": {"type": "array", "maxItems": 0},
        "unit": {"enum": ["C", "F"]},
    },
    "required": ["city"],
    "additionalProperties": False,
}
TOOLS = [
    {"name": "trip", "parameters": TRIP},
    {"name": "ping", "parameters": {"properties": {"host": {"type": "string"}}}},
]
SPACE = "\N{LATIN CAPITAL LETTER G WITH DOT ABOVE}"  # as byte-level tokenizers write it
MERGES = [
    ('"', '"'),
    ('"', ","),
    ('""', ","),
    ("}", "}"),
    (SPACE, '"'),
    (":", SPACE + '"'),
    ("{", '"'),
]
VOCABULARIES = [Vocabulary.of(byte_tokenizer()), Vocabulary.of(byte_tokenizer(MERGES))]


def shown(remainder):
    return remainder.text(lambda gap: "<>")


def test_all_keys_are_there_and_every_array_has_an_item():
    full = (
        '{"city": "<>", "tags": [<>], "stops": [{"at": "<>"}], "pair": [<>, <>], '
        '"none": [], "unit": "<>"}'
    )
    assert shown(sketch(compile_schema(TRIP), "", NO_CHOICES)) == full
    call = f'<tool_call>\n{{"name": "trip", "arguments": {full}}}\n</tool_call>'
    assert shown(sketch(compile_schema(TOOLS), "", NO_CHOICES)) == call


def test_the_choices_say_which_tool():
    remainder = sketch(compile_schema(TOOLS), "", Choices(branches={"/0": 1}))
    assert '"ping", "arguments": {"host": "<>"}' in shown(remainder)


def test_what_is_chosen_stays_as_it_is():
    choices = Choices(keys={"": frozenset({"tags"})}, lengths={"/tags": 3})
    remainder = sketch(compile_schema(TRIP), "", choices)
    assert shown(remainder) == '{"city": "<>", "tags": [<>, <>, <>]}'


def test_behind_a_prefix_the_rest_is_full():
    remainder = sketch(compile_schema(TRIP), '{"city": "Rome", "tags": [1', NO_CHOICES)
    assert shown(remainder) == (
        '<>], "stops": [{"at": "<>"}], "pair": [<>, <>], "none": [], "unit": "<>"}'
    )


def test_a_sketch_stays_small_where_a_schema_is_large():
    many = {f"key{n}": {"type": "string"} for n in range(MAX_SLOTS + 1)}
    schema = {"type": "object", "properties": many, "required": ["key0"]}
    assert shown(sketch(compile_schema(schema), "", NO_CHOICES)) == '{"key0": "<>"}'


def test_a_text_that_is_no_prefix_is_refused():
    with pytest.raises(NotAPrefix):
        sketch(compile_schema(TRIP), "[", NO_CHOICES)


@pytest.mark.parametrize("vocabulary", VOCABULARIES, ids=["bytes", "merges"])
def test_the_tokens_spell_the_text_and_the_spans_point_at_the_slots(vocabulary):
    remainder = sketch(compile_schema(TOOLS), "", NO_CHOICES)
    draft = sketch_draft(remainder, vocabulary)
    text = draft.text.decode()
    assert vocabulary.bytes_of(draft.ids) == draft.text
    assert draft.ends == tuple(vocabulary.ends(draft.ids))
    assert json.loads(text.split("\n")[1])["arguments"] == {
        "city": "",
        "tags": [0],
        "stops": [{"at": ""}],
        "pair": [True, True],
        "none": [],
        "unit": "",
    }
    gaps = [piece for piece in remainder.pieces if isinstance(piece, Gap)]
    assert [span.pointer for span in draft.spans] == [gap.pointer for gap in gaps]
    for span in draft.spans:
        inside = draft.text[span.start : span.end]
        assert inside == b"" if holds_content(span.language) else json.loads(inside) in (0, True)
        assert text[: span.start].rstrip('"')[-1] in " ["


def test_the_text_before_a_slot_falls_into_tokens_as_if_a_value_followed():
    """An empty string would make one token of its quotes and the comma."""
    vocabulary = VOCABULARIES[1]
    draft = sketch_draft(sketch(compile_schema(TRIP), "", NO_CHOICES), vocabulary)
    ends = {0, *draft.ends}
    assert all(span.start in ends and span.end in ends for span in draft.spans)
    tokens = [vocabulary.token_bytes[i] for i in draft.ids]
    assert b': "' in tokens
    assert b'",' in tokens


def test_a_special_text_is_its_token():
    vocabulary = VOCABULARIES[0]
    draft = sketch_draft(sketch(compile_schema(TOOLS), "", NO_CHOICES), vocabulary)
    added = [draft.ids[0], draft.ids[-1]]
    assert added == [vocabulary.added["<tool_call>"], vocabulary.added["</tool_call>"]]


@settings(max_examples=60, deadline=None)
@given(easy_schemas())
def test_a_sketch_of_any_schema_is_a_text_that_the_scaffold_can_write(schema):
    try:
        scaffold = compile_schema(schema)
    except SchemaError:
        return
    remainder = sketch(scaffold, "", NO_CHOICES)
    draft = sketch_draft(remainder, VOCABULARIES[1])
    assert VOCABULARIES[1].bytes_of(draft.ids) == draft.text
    certain = [p.text for p in remainder.pieces if isinstance(p, Literal)]
    text = draft.text.decode()
    for literal in certain:
        assert literal in text
        text = text[text.index(literal) + len(literal) :]
    json.loads(draft.text)
