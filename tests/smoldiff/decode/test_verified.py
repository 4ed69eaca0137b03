"""`verified` writes what `ar` writes, whatever the drafter, the schema and the model."""

import json
from pathlib import Path

import pytest
from fakes import CHAT_TEMPLATE, byte_tokenizer, hash_model
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

import smoldiff
from smoldiff.errors import GenerationError

TOKENIZERS = {
    "bytes": byte_tokenizer(),
    "merges": byte_tokenizer(
        [
            ("{", '"'),
            ('"', ":"),
            ("Ġ", '"'),
            ('"', ","),
            ('"', "}"),
            ('"}', "}"),
            ("a", "b"),
            ("ab", "c"),
            ("Ġ", "a"),
        ]
    ),
}
# As Llama 3.1's: bare JSON, one call only; and marks that are not tokens of their own.
BARE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.tool_calls %}{% if m.tool_calls | length > 1 %}{{ raise_exception('one call only') }}{% endif %}"
    '{"name": "{{ m.tool_calls[0].function.name }}", "parameters": {{ m.tool_calls[0].function.arguments | tojson }}}'
    "{% else %}{{ m.content }}{% endif %}<|im_end|>{% endfor %}"
)
PLAIN_MARKS = CHAT_TEMPLATE.replace("<tool_call>\n", "[CALL]").replace("\n</tool_call>", "[/CALL]")
QWEN = Path(__file__).parents[3].parent / "shared" / "tokenizers" / "qwen"
DRAFTERS = ["scaffold", "copy", "parallel", "parallel+copy"]

NAMES = st.sampled_from(["a", "ab", "city", "é", "with space", 'q"uote', "arguments"])
LEAVES = st.one_of(
    st.just({"type": "string"}),
    st.just({"type": "string", "maxLength": 4}),
    st.just({"type": "string", "format": "date"}),
    st.just({"type": "string", "pattern": "^[a-c]{2,3}$"}),
    st.just({"type": "integer"}),
    st.just({"type": "integer", "minimum": 3, "maximum": 40}),
    st.just({"type": "number"}),
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    st.just({"type": ["string", "null"]}),
    st.just({"const": {"x": 1}}),
    st.just({}),
    st.lists(st.sampled_from(["ab", "abc", "b", "é", "x y"]), min_size=1, unique=True).map(
        lambda v: {"enum": v}
    ),
    st.just({"enum": [1, 12, "a", None]}),
)


def objects(values):
    return st.dictionaries(NAMES, values, max_size=3).flatmap(
        lambda properties: (
            st.lists(st.sampled_from(sorted(properties)), unique=True).map(
                lambda required: {
                    "type": "object",
                    "properties": properties,
                    "required": required,
                    "additionalProperties": False,
                }
            )
            if properties
            else st.just({"type": "object", "properties": {}, "additionalProperties": False})
        )
    )


VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        objects(inner),
        inner.map(lambda items: {"type": "array", "items": items, "maxItems": 2}),
        st.lists(inner, min_size=2, max_size=2).map(lambda branches: {"anyOf": branches}),
    ),
    max_leaves=4,
)
TOOLS = st.lists(objects(VALUES), min_size=1, max_size=3).map(
    lambda all_parameters: [
        {"name": f"tool.{'ab'[: i % 3]}{i}", "parameters": p} for i, p in enumerate(all_parameters)
    ]
)
OPTIONS = st.fixed_dictionaries(
    {
        "tool_choice": st.sampled_from(["required", "auto"]),
        "parallel_tool_calls": st.booleans(),
        "temperature": st.sampled_from([0.0, 0.0, 1.0]),
        "top_p": st.sampled_from([1.0, 0.8]),
        "top_k": st.sampled_from([0, 5]),
        "seed": st.just(7),
    }
)
MANY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def outcome(model, schema, message, **options):
    """Token ids and calls, or the text that a failed answer got to."""
    try:
        result = smoldiff.generate_call(model, schema, message, max_tokens=150, **options)
    except GenerationError as problem:
        return type(problem).__name__, problem.text
    return result.token_ids, [(c.name, c.arguments) for c in result.calls], result.content


@pytest.mark.parametrize("drafter", DRAFTERS)
@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@MANY
@given(tools=TOOLS, options=OPTIONS, seed=st.integers(0, 99), text=st.text(max_size=20))
def test_verified_writes_what_ar_writes(drafter, tokenizer, tools, options, seed, text):
    model = hash_model(TOKENIZERS[tokenizer], seed)
    message = f"abc ab city {text} " + json.dumps(tools)[:40]
    plain = outcome(model, tools, message, mode="ar", **options)
    assert outcome(model, tools, message, drafter=drafter, **options) == plain


@MANY
@given(schema=VALUES, seed=st.integers(0, 99))
def test_bare_schemas_too(schema, seed):
    model = hash_model(TOKENIZERS["merges"], seed)
    plain = outcome(model, schema, "abc", mode="ar")
    assert outcome(model, schema, "abc") == plain


@MANY
@given(
    tools=TOOLS,
    seed=st.integers(0, 99),
    messages=st.lists(st.text("abc ", min_size=1), min_size=2, max_size=4),
)
def test_a_batch_writes_what_single_answers_write(tools, seed, messages):
    model = hash_model(TOKENIZERS["merges"], seed)
    singles = [outcome(model, tools, message) for message in messages]
    try:
        together = smoldiff.generate_calls(model, tools, messages, max_tokens=150)
    except GenerationError as problem:
        together = problem.results
    got = [
        (type(r).__name__, r.text)
        if isinstance(r, GenerationError)
        else (r.token_ids, [(c.name, c.arguments) for c in r.calls], r.content)
        for r in together
    ]
    assert got == singles


@pytest.mark.parametrize("template", [BARE, PLAIN_MARKS], ids=["bare JSON", "plain marks"])
@MANY
@given(
    tools=TOOLS, options=OPTIONS, seed=st.integers(0, 99), message=st.text(min_size=1, max_size=20)
)
def test_other_frames_of_calls_too(template, tools, options, seed, message):
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = template
    model = hash_model(tokenizer, seed)
    plain = outcome(model, tools, message, mode="ar", **options)
    assert outcome(model, tools, message, **options) == plain


@pytest.mark.parametrize("template", [BARE, PLAIN_MARKS], ids=["bare JSON", "plain marks"])
@pytest.mark.parametrize("tool_choice", ["required", "auto"])
def test_calls_in_other_frames_are_read(template, tool_choice):
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = template
    tools = [
        {
            "name": "f",
            "parameters": {
                "type": "object",
                "properties": {"n": {"enum": [1, 2]}},
                "required": ["n"],
            },
        }
    ]
    results = [
        smoldiff.generate_call(
            hash_model(tokenizer, seed),
            tools,
            "hi",
            tool_choice=tool_choice,
            parallel_tool_calls=False,
        )
        for seed in range(8)
    ]
    if tool_choice == "required":
        assert all(r.name == "f" and r.arguments["n"] in (1, 2) for r in results)


@pytest.fixture(scope="module")
def qwen():
    if not QWEN.exists():
        pytest.skip("../shared/tokenizers/qwen is absent")
    tokenizer = AutoTokenizer.from_pretrained(QWEN)
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tools=TOOLS, seed=st.integers(0, 9), message=st.text(min_size=1, max_size=20))
def test_a_vocabulary_of_150_000_tokens_with_a_normaliser_too(qwen, tools, seed, message):
    model = hash_model(qwen, seed)
    plain = outcome(model, tools, message, mode="ar", parallel_tool_calls=False)
    assert outcome(model, tools, message, parallel_tool_calls=False) == plain


@pytest.mark.parametrize(
    "schema", [{"enum": ["cafe\u0301 one", "x"]}, {"const": "<tool_call>"}, {"const": "\u0958"}]
)
def test_text_that_the_tokenizer_would_change_or_take_for_a_token_is_written(qwen, schema):
    values = schema.get("enum", [schema.get("const")])
    for tokenizer in (qwen, byte_tokenizer()):
        for seed in range(4):
            model = hash_model(tokenizer, seed)
            result = smoldiff.generate_call(model, schema, "hi")
            assert result.arguments in values
            assert (
                smoldiff.generate_call(model, schema, "hi", mode="ar").token_ids == result.token_ids
            )


def test_a_template_that_renders_one_call_only_gets_one():
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = BARE
    tools = [{"name": "f", "parameters": {"type": "object", "properties": {}}}]
    counts = [
        len(smoldiff.generate_call(hash_model(tokenizer, seed), tools, "hi").calls)
        for seed in range(20)
    ]
    assert counts == [1] * 20
