"""`verified` writes what `ar` writes, whatever the drafter, the schema and the model."""

import json

import pytest
from fakes import byte_tokenizer, hash_model
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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
@given(tools=TOOLS, options=OPTIONS, seed=st.integers(0, 99))
def test_verified_writes_what_ar_writes(drafter, tokenizer, tools, options, seed):
    model = hash_model(TOKENIZERS[tokenizer], seed)
    message = "abc ab city " + json.dumps(tools)[:40]
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
