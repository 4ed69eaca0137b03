"""vLLM's structured outputs become scaffolds; what cannot be drafted is refused with a reason."""

import json
from types import SimpleNamespace

import pytest

from smoldiff.decode.model import load_tokenizer
from smoldiff.scaffold.cursor import NotAPrefix
from smoldiff.template.vocabulary import Vocabulary
from smoldiff_integrations.vllm.schema import (
    TOOL_MARK,
    NoScaffold,
    constraint_of,
    is_schema,
    styles_of,
)

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo", "days": 3}}\n</tool_call>'


@pytest.fixture(scope="module")
def vocabulary():
    return Vocabulary.of(load_tokenizer())


def outputs(schema=None, tag=None):
    return SimpleNamespace(json=schema, structural_tag=tag)


def hermes_tag(content, *, is_auto=False, **group):
    frames = [("<tool_call>\n", "}\n</tool_call>"), ("<tool_call>", "}</tool_call>")]
    tags = [
        {
            "type": "tag",
            "begin": f'{begin}{{"name": "{name}", "arguments": ',
            "content": content,
            "end": end,
        }
        for name in ("weather", "forecast")
        for begin, end in frames
    ]
    kind = "triggered_tags" if is_auto else "tags_with_separator"
    rest = {"triggers": ["<tool_call>"]} if is_auto else {"separator": ""}
    return json.dumps(
        {"type": "structural_tag", "format": {"type": kind, "tags": tags, **rest, **group}}
    )


def reads(scaffold, text):
    try:
        return scaffold.resume(text).is_complete
    except NotAPrefix:
        return False


@pytest.mark.parametrize("schema", [SCHEMA, json.dumps(SCHEMA)], ids=["object", "text"])
def test_a_json_schema_is_one_value_in_each_style_that_the_server_allows(vocabulary, schema):
    found = constraint_of(outputs(schema), styles_of(is_fixed=False, has_blanks=False), vocabulary)
    assert not found.has_calls
    spaced, compact = found.scaffolds
    assert reads(spaced, '{"city": "Oslo", "days": 3}')
    assert reads(compact, '{"city":"Oslo","days":3}')


@pytest.mark.parametrize("has_blanks", [True, False])
def test_a_server_that_fixes_whitespace_leaves_one_style(vocabulary, has_blanks):
    (only,) = constraint_of(outputs(SCHEMA), styles_of(True, has_blanks), vocabulary).scaffolds
    assert reads(only, '{"city": "Oslo", "days": 3}') is has_blanks
    assert reads(only, '{"city":"Oslo","days":3}') is not has_blanks


@pytest.mark.parametrize("is_auto", [True, False])
def test_a_structural_tag_is_calls_in_its_first_frame(vocabulary, is_auto):
    tag = hermes_tag({"type": "json_schema", "json_schema": SCHEMA}, is_auto=is_auto)
    found = constraint_of(outputs(tag=tag), styles_of(False, False), vocabulary)
    assert found.has_calls
    scaffold = found.scaffolds[0]
    assert scaffold.source.names == ("weather", "forecast")
    assert reads(scaffold, CALL)
    assert reads(scaffold, CALL + ("\n" if is_auto else "") + CALL)
    assert scaffold.call_style.special == ("<tool_call>", "</tool_call>")


def test_a_tag_for_one_call_is_one_call(vocabulary):
    tag = hermes_tag({"type": "json_schema", "json_schema": SCHEMA}, stop_after_first=True)
    assert (
        constraint_of(outputs(tag=tag), styles_of(False, False), vocabulary).scaffolds[0].max_calls
        == 1
    )


def test_a_grammar_of_our_tool_parser_tells_the_tool_and_fixes_the_style(vocabulary):
    tool = {"name": "weather", "description": "Weather of a city", "parameters": SCHEMA}
    content = {"type": "grammar", "grammar": f"{TOOL_MARK}{json.dumps(tool)}\nroot ::= ..."}
    tag = json.loads(hermes_tag(content))
    del tag["format"]["tags"][1:]
    (only,) = constraint_of(
        outputs(tag=json.dumps(tag)), styles_of(False, False), vocabulary
    ).scaffolds
    assert only.source.tools[0].description == "Weather of a city"
    assert reads(only, CALL)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (outputs(), "kind"),
        (outputs({"type": "strin"}), "schema"),
        (outputs(tag=hermes_tag({"type": "json_schema", "json_schema": True})), "free arguments"),
        (
            outputs(
                tag=hermes_tag({"type": "json_schema", "json_schema": SCHEMA, "style": "qwen_xml"})
            ),
            "tag",
        ),
        (outputs(tag=json.dumps({"structures": [], "triggers": []})), "tag"),
        (outputs(tag=hermes_tag({"type": "any_text"})), "tag"),
    ],
    ids=["other kind", "bad schema", "free", "xml", "old tag", "text"],
)
def test_what_cannot_be_drafted_has_a_reason(vocabulary, given, reason):
    with pytest.raises(NoScaffold, match=f"^{reason}$"):
        constraint_of(given, styles_of(False, False), vocabulary)


def test_only_schemas_and_tags_may_be_drafted_for():
    kinds = {"json": None, "structural_tag": None, "regex": None}
    assert not is_schema(None)
    assert not is_schema(SimpleNamespace(**{**kinds, "regex": "a+"}))
    assert is_schema(SimpleNamespace(**{**kinds, "json": {}}))
    assert is_schema(SimpleNamespace(**{**kinds, "structural_tag": "{}"}))
