"""The chat template: its layout is a contract, and its plain-Python twin says the same."""

import json
from pathlib import Path

import pytest

from smoldiff_training.data.render import calls_text, message_text, prompt_text, tool_line
from smoldiff_training.data.rows import read_json_lines, read_rows
from smoldiff_training.data.tokenizer import CHAT_TEMPLATE, SPECIAL_TOKENS

HOSTILE = [
    {},
    {"parameters": None},
    {"parameters": True},
    {"parameters": {}},
    {"parameters": {"type": "object", "properties": {}}},
    {"parameters": {"properties": {"a": True, "b": False, "c": {}, "d": {"const": None}}}},
    {"parameters": {"properties": {"items": {"type": "array"}, "get": {"items": {"type": "null"}}}}},
    {"parameters": {"properties": {"a": {"type": ["string", "null"]}, "b": {"type": 3}}}},
    {"parameters": {"properties": {"a": {"anyOf": [{"enum": [1, "x", None, True]}, {"$ref": "#/$defs/N"}]}}, "$defs": {"N": {"type": "object", "properties": {"next": {"$ref": "#/$defs/N"}}}}}},
    {"parameters": {"$ref": "#/definitions/A", "definitions": {"A": {"type": "integer", "minimum": 0, "exclusiveMaximum": 9.5, "description": "a\nb"}}}},
    {"parameters": {"properties": {"a": {"prefixItems": [{"type": "number"}, True], "type": "array"}, "b": {"additionalProperties": {"type": "string", "pattern": "^\"<|im_end|>$"}, "type": "object"}}, "required": "a"}},
    {"description": "  two\n\nlines é ", "parameters": {"properties": {"ключ_é": {"allOf": [{"type": "boolean"}, {"oneOf": [{"type": "integer", "maximum": 3}]}]}}}},
]  # fmt: skip


def rendered(tokenizer, messages, tools, **more):
    return tokenizer.apply_chat_template(
        messages, tools=tools, tokenize=False, add_generation_prompt=True, **more
    )


def test_layout_is_the_agreed_one(tokenizer, weather):
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Weather in Oslo?"},
        {"role": "assistant", "content": "Wait.", "tool_calls": [{"name": "get_weather", "arguments": {"city": "Ås", "unit": "C"}}, {"type": "function", "function": {"name": "x", "arguments": "{}"}}]},
        {"role": "tool", "content": '{"t": 1}'},
    ]  # fmt: skip
    assert rendered(tokenizer, messages, [weather]) == (
        "<|im_start|>system\nBe brief.\n\n### Tools\nAnswer with <tool_call> when a tool fits.\n<tools>\n"
        'get_weather(city: string "Name of the city"; day?: string(date); unit?: "C"|"F")'
        " - Weather at a place\n</tools><|im_end|>\n"
        "<|im_start|>user\nWeather in Oslo?<|im_end|>\n"
        '<|im_start|>assistant\nWait.\n<tool_call>\n{"name": "get_weather", "arguments": '
        '{"city": "Ås", "unit": "C"}}\n</tool_call>\n'
        '<tool_call>\n{"name": "x", "arguments": {}}\n</tool_call><|im_end|>\n'
        '<|im_start|>user\n<tool_response>\n{"t": 1}\n</tool_response><|im_end|>\n'
        "<|im_start|>assistant\n"
    )


def test_flat_and_wrapped_tools_and_both_argument_names_render_alike(tokenizer, weather):
    messages = [{"role": "user", "content": "hi"}]
    flat = rendered(tokenizer, messages, [weather], enable_thinking=False)
    wrapped = rendered(tokenizer, messages, [{"type": "function", "function": weather}])
    assert flat == wrapped == rendered(tokenizer, messages, None, xml_tools=[weather])
    assert "### Tools" not in rendered(tokenizer, messages, None)


@pytest.mark.parametrize("more", HOSTILE, ids=range(len(HOSTILE)))
def test_twin_says_the_same_on_hostile_schemas(tokenizer, more):
    messages = [{"role": "user", "content": "hi"}]
    tools = [{"name": "f", **more}]
    assert rendered(tokenizer, messages, tools) == prompt_text(messages, tools)
    assert "\n" not in tool_line(tools[0])


def test_twin_says_the_same_on_real_rows(tokenizer, data):
    for row in read_rows(data / "dev.jsonl.gz")[::40]:
        answer = {"role": "assistant", "content": "", "tool_calls": row.calls}
        assert rendered(tokenizer, row.messages, row.tools) == prompt_text(row.messages, row.tools)
        assert message_text(answer) == f"<|im_start|>assistant\n{calls_text(row.calls)}<|im_end|>\n"
    for tool in list(read_json_lines(data / "mcp_tools.jsonl.gz"))[::30]:
        messages = [{"role": "user", "content": "hi"}]
        assert rendered(tokenizer, messages, [tool]) == prompt_text(messages, [tool])


def test_bundled_template_is_the_source(tokenizer):
    assert tokenizer.chat_template.strip() == Path(CHAT_TEMPLATE).read_text("utf-8").strip()


def test_tokenizer_keeps_every_text_and_its_tags_whole(tokenizer):
    text = 'Ünïcødé \U0001f600\t{"a": 12345}\n\n  x\x00'
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer.encode(json.dumps("1234"))) == 4
    for token in SPECIAL_TOKENS:
        assert len(tokenizer.encode(token)) == 1
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")
