"""What `smoldiff explain` prints, and how many positions each slot gets."""

import io

import pytest
from rich.console import Console

from smoldiff.scaffold.budget import budget
from smoldiff.scaffold.compile import compile_schema
from smoldiff.scaffold.explain import MAX_LINES, explain
from smoldiff.schema.nodes import Boolean, Enum, Integer, Number, Opaque, String

TOOL = {
    "name": "book",
    "parameters": {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "date": {"type": "string", "format": "date"},
            "nights": {"type": "integer", "minimum": 1, "maximum": 9},
            "room": {"enum": ["a", "b"]},
            "guests": {"type": "array", "items": {"type": "string", "maxLength": 4}, "maxItems": 3},
            "note": {"anyOf": [{"type": "null"}, {"type": "number", "exclusiveMinimum": 0}]},
            "part": {"type": "number", "not": {"type": "integer"}, "maximum": 1},
        },
        "required": ["city", "nights"],
    },
}


def printed(scaffold, count_tokens=None, **options):
    console = Console(file=io.StringIO(), width=200, **options)
    console.print(explain(scaffold, count_tokens))
    return console.file.getvalue()


def test_slots_decisions_and_the_summary_are_printed():
    text = printed(compile_schema([TOOL, {"name": "ping", "parameters": {}}], max_calls=3))
    for words in (
        "\u00d7 1..3 <tool_call>",
        "one of 2",
        '"city": "\u2039string \u226432\u203a"',
        "\u2039integer 1..9 \u22641\u203a",
        '? "date": "\u2039date \u226413\u203a"',
        '\u2039"a"|"b" \u22641\u203a',
        "[\u00d7 0..3 ",
        "\u2039string \u22644 characters \u22644\u203a",
        "| null: null",
        "number >0",
        "number that is not whole ≤1",
        "7 slots, 9 decisions",
    ):
        assert words in text, text


def test_colours_mark_what_is_certain():
    text = printed(
        compile_schema([TOOL]), force_terminal=True, color_system="standard", no_color=False
    )
    assert '\x1b[32m"city": ' in text


def test_tokens_are_counted_by_the_tokenizer_given():
    text = printed(compile_schema({"const": "a b c"}), lambda words: len(words.split()))
    assert "The smallest answer: 3 tokens certain, 0 positions free." in text


def test_a_huge_scaffold_is_cut_short():
    schema = {
        "type": "object",
        "properties": {f"p{n}": {"type": "integer"} for n in range(2 * MAX_LINES)},
    }
    assert len(printed(compile_schema(schema)).splitlines()) < MAX_LINES + 10


@pytest.mark.parametrize(
    ("language", "positions"),
    [
        (Boolean(""), 5),
        (Enum("", ('"ab"', '"abc"')), 3),
        (Enum("", ('"ab"', "null")), 4),
        (Integer("", 1, 1000), 4),
        (Integer(""), 11),
        (Number(""), 13),
        (Number("", 0, 10**20), 26),
        (String(""), 32),
        (String("", 0, 5), 5),
        (String("", 40, 50), 40),
        (String("", 0, 0), 1),
        (String("", formats=("date",)), 13),
        (Opaque(""), 32),
    ],
    ids=str,
)
def test_the_budget_fits_the_language(language, positions):
    assert budget(language, len) == positions
