"""A base's own chat template says how its calls are written."""

import pytest
from fakes import CHAT_TEMPLATE, byte_tokenizer

from smoldiff.decode.chat import detect_style, read_messages, render_prompt
from smoldiff.errors import MissingChatTemplate, RequestError
from smoldiff.scaffold.answer import CallStyle
from smoldiff.schema.source import read_source
from smoldiff.template.vocabulary import Vocabulary

HERMES = CallStyle(
    "<tool_call>\n", "\n</tool_call>", "\n", "name", "arguments", ("<tool_call>", "</tool_call>")
)
# As SmolLM3's: tools under xml_tools, and no rendering of calls.
WITHOUT_CALLS = (
    "{% if xml_tools %}within <tools></tools> tags:\n{% for t in xml_tools %}{{ t }}\n{% endfor %}{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if not enable_thinking %}<think>\n\n</think>\n{% endif %}{% endif %}"
)
# As Llama 3.1's: bare JSON with `parameters`, one call only.
BARE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.tool_calls %}{% if m.tool_calls | length > 1 %}{{ raise_exception('one call only') }}{% endif %}"
    '{"name": "{{ m.tool_calls[0].function.name }}", "parameters": {{ m.tool_calls[0].function.arguments | tojson }}}'
    "{% else %}{{ m.content }}{% endif %}<|im_end|>{% endfor %}"
)
TOOLS = [{"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}}]


def style_of(template):
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = template
    return detect_style(tokenizer, Vocabulary.of(tokenizer))


@pytest.mark.parametrize(
    ("template", "style"),
    [
        (CHAT_TEMPLATE, HERMES),
        (
            CHAT_TEMPLATE.replace("<tool_call>\n", "[CALL]").replace("\n</tool_call>", "[/CALL]"),
            None,
        ),
        (WITHOUT_CALLS, HERMES),
        (BARE, CallStyle("", "", "", "name", "parameters", (), can_repeat=False)),
        (None, HERMES),
    ],
    ids=["hermes", "other marks", "renders no calls", "bare JSON", "no template"],
)
def test_the_frame_of_calls_is_read_from_the_template(template, style):
    assert style_of(template) == (
        style or CallStyle("[CALL]", "[/CALL]", "\n", "name", "arguments", ())
    )


def test_tools_go_where_the_template_reads_them():
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = WITHOUT_CALLS
    ids = render_prompt(tokenizer, read_messages("hi"), read_source(TOOLS).tools)
    text = tokenizer.decode(ids)
    assert "'name': 'f'" in text
    assert text.endswith("<think>\n\n</think>\n")


def test_thinking_can_be_asked_for():
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = WITHOUT_CALLS
    ids = render_prompt(tokenizer, read_messages("hi"), (), {"enable_thinking": True})
    assert tokenizer.decode(ids).endswith("<|im_start|>assistant\n")


def test_a_tokenizer_without_a_template_is_a_clear_error():
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = None
    with pytest.raises(MissingChatTemplate, match="no chat template"):
        render_prompt(tokenizer, read_messages("hi"), ())


def test_a_template_that_refuses_the_messages_is_a_request_error():
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(RequestError, match="roles must alternate"):
        render_prompt(tokenizer, read_messages("hi"), ())


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ([], "messages is empty"),
        ("", "neither 'content' nor 'tool_calls'"),
        (["hi"], r"messages\[0\]: expected a dict"),
        ([{"content": "hi"}], r"messages\[0\]: expected a dict with a 'role'"),
        (
            [{"role": "user", "content": "a"}, {"role": "user", "content": ""}],
            r"messages\[1\] \(user\)",
        ),
    ],
)
def test_bad_messages_say_which_and_why(messages, problem):
    with pytest.raises(RequestError, match=problem):
        read_messages(messages)
