"""Schemas that the grammar engine cannot fully express: the answer is the base's own choice among the valid ones."""

import collections
import itertools
import json

import pytest
import torch
from fakes import HashBase, byte_tokenizer, hash_model
from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.validators import validator_for
from transformers import AutoModelForCausalLM, LlamaConfig

import smoldiff
from smoldiff.decode.chat import read_messages, render_prompt
from smoldiff.decode.grammar import AnswerForm
from smoldiff.decode.guilt import find_guilty
from smoldiff.decode.model import Model
from smoldiff.decode.request import plan
from smoldiff.decode.superset import MAX_PROPERTIES, weaker
from smoldiff.errors import GenerationError, InvalidCall, RequestError
from smoldiff.scaffold.answer import CallStyle
from smoldiff.scaffold.style import JsonStyle
from smoldiff.schema.source import read_source

MERGES = [("{", '"'), ('"', ":"), ("Ġ", '"'), ('"', ","), ('"', "}"), ("a", "b"), ("1", "0")]
TOKENIZERS = {"bytes": byte_tokenizer(), "merges": byte_tokenizer(MERGES)}
DRAFTERS = ["scaffold", "copy", "parallel", "parallel+copy"]

LETTERS = {"enum": ["a", "ab", "b"]}
PAIR = {"a": {"enum": [1, 2]}, "b": {"enum": [1, 2]}, "c": {"enum": [1, 2]}}
# Each allows finitely many texts under the superset, and few invalid values in one place.
FINITE = {
    "not": {"type": "integer", "minimum": 0, "maximum": 12, "not": {"enum": [1, 3, 7, 10]}},
    "not, of strings": {"enum": ["a", "ab", "abc", "b"], "not": {"maxLength": 1}},
    "oneOf": {
        "oneOf": [
            {"type": "integer", "multipleOf": 2, "minimum": 0, "maximum": 12},
            {"type": "integer", "multipleOf": 3, "minimum": 0, "maximum": 12},
        ]
    },
    "uniqueItems": {
        "type": "array",
        "items": LETTERS,
        "uniqueItems": True,
        "minItems": 2,
        "maxItems": 3,
    },
    "dependentRequired": {
        "type": "object",
        "properties": PAIR,
        "dependentRequired": {"a": ["c"]},
        "additionalProperties": False,
    },
    "if, then, else": {
        "type": "object",
        "properties": {"k": {"enum": ["x", "y"]}, "v": {"enum": [1, 2, 3]}},
        "required": ["k", "v"],
        "additionalProperties": False,
        "if": {"properties": {"k": {"const": "x"}}},
        "then": {"properties": {"v": {"const": 3}}},
        "else": {"properties": {"v": {"const": 1}}},
    },
    "contains": {
        "type": "array",
        "items": {"enum": [1, 2]},
        "contains": {"const": 2},
        "maxItems": 2,
    },
    "not required": {
        "type": "object",
        "properties": PAIR,
        "additionalProperties": False,
        "not": {"required": ["b"]},
    },
    "draft 7": {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "properties": PAIR,
        "additionalProperties": False,
        "dependencies": {"b": ["a"]},
    },
    "inside": {
        "type": "object",
        "properties": {"x": {"$ref": "#/$defs/x"}, "y": {"type": "boolean"}},
        "required": ["x", "y"],
        "additionalProperties": False,
        "$defs": {
            "x": {
                "allOf": [
                    {"type": "array", "items": LETTERS, "maxItems": 2},
                    {"not": {"const": []}},
                ]
            }
        },
    },
}
OPEN = {
    "propertyNames": {
        "type": "object",
        "propertyNames": {"maxLength": 2},
        "additionalProperties": {"enum": [1]},
        "minProperties": 1,
        "maxProperties": 2,
    },
    "format": {"type": "string", "format": "idn-email", "maxLength": 6},
    "not a beginning": {"type": "string", "maxLength": 9, "not": {"pattern": "^[^a]"}},
    "one key of two": {
        "type": "object",
        "properties": {
            "n": {"type": "string", "maxLength": 3},
            "s": {"pattern": "^[0-9]{9}$"},
            "e": {"pattern": "^[0-9]{9}$"},
        },
        "required": ["n"],
        "oneOf": [{"required": ["s"]}, {"required": ["e"]}],
        "additionalProperties": False,
    },
    "not an integer": {"type": "number", "not": {"type": "integer"}},
    "unevaluated": {
        "type": "object",
        "properties": {"a": {"enum": [1, 2]}},
        "minProperties": 1,
        "unevaluatedProperties": False,
    },
}
SCHEMAS = {**FINITE, **OPEN}


def outcome(model, schema, message="hi abc", **options):
    """Token ids and arguments, or the text that a failed answer got to."""
    try:
        result = smoldiff.generate_call(model, schema, message, max_tokens=150, **options)
    except GenerationError as problem:
        return type(problem).__name__, str(problem)
    return result.token_ids, [c.arguments for c in result.calls], result.stats.remasked


def as_tool(schema):
    parameters = {"type": "object", "properties": {"v": schema}, "required": ["v"]}
    return [{"name": "f", "parameters": parameters}]


@pytest.mark.parametrize("drafter", DRAFTERS)
@pytest.mark.parametrize("name", SCHEMAS)
def test_verified_writes_what_ar_writes_and_it_is_valid(name, drafter):
    for seed in range(8):
        model = hash_model(TOKENIZERS["merges"], seed)
        plain = outcome(model, SCHEMAS[name], mode="ar")
        assert outcome(model, SCHEMAS[name], drafter=drafter) == plain
        if plain[0] not in ("InvalidCall", "IncompleteCall"):
            assert is_valid(plain[1][0], SCHEMAS[name])


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@pytest.mark.parametrize("name", FINITE)
def test_the_answer_is_that_of_an_exact_grammar(name, tokenizer):
    schema, num_remasked = FINITE[name], 0
    for seed in range(12):
        model = hash_model(TOKENIZERS[tokenizer], seed)
        result = smoldiff.generate_call(model, schema, "hi abc")
        assert result.text == best_text(model, schema, "hi abc")
        num_remasked += result.stats.remasked
    assert num_remasked  # else nothing was tested


def best_text(model, schema, message):
    """Greedy search that knows every valid text: a token may come next if a valid text goes on with it."""
    form = plan(model, schema, {}).form
    valid = {t.encode() for t in all_texts(model, form) if is_valid(json.loads(t), schema)}
    prompt_ids = render_prompt(model.tokenizer, read_messages(message), ())
    return greedy(model, form, prompt_ids, valid)


def is_valid(value, schema):
    return validator_for(schema, Draft202012Validator)(
        schema, format_checker=FormatChecker()
    ).is_valid(value)


def all_texts(model, form):
    """Every text that the engine's grammar allows, by the bytes."""
    grammar = model.grammar_engine.compile(form)
    todo, texts, seen = [[]], [], set()
    while todo:
        ids = todo.pop()
        text = model.vocabulary.bytes_of(ids)
        if text in seen:
            continue
        seen.add(text)
        matcher = grammar.matcher()
        matcher.rewind(ids)
        is_whole = matcher.is_finished or any(matcher.allows(i) for i in model.eos_ids)
        if is_whole:
            texts.append(text.decode())
        if not matcher.is_finished:
            others = set(range(len(model.vocabulary))) - set(model.eos_ids)
            todo += [[*ids, i] for i in others if matcher.allows(i)]
    return texts


def greedy(model, form, prompt_ids, valid):
    matcher = model.grammar_engine.compile(form).matcher()
    ids = []
    while not matcher.is_finished:
        text = model.vocabulary.bytes_of(ids)
        logits = model.base.logits([*prompt_ids, *ids])
        for token_id in logits.argsort(descending=True).tolist():
            longer = text + model.vocabulary.bytes_of([token_id])
            if not matcher.allows(token_id):
                continue
            if token_id in model.eos_ids and text in valid:
                return text.decode()
            if token_id not in model.eos_ids and any(t.startswith(longer) for t in valid):
                break
        matcher.advance(token_id)
        ids.append(token_id)
    return model.vocabulary.bytes_of(ids).decode()


@pytest.mark.parametrize("name", FINITE)
def test_taking_forced_tokens_unasked_changes_nothing(name):
    for seed in range(6):
        model = hash_model(TOKENIZERS["merges"], seed)
        for options in ({}, {"temperature": 1.0, "seed": 3}):
            plain = outcome(model, FINITE[name], mode="ar", **options)
            assert (
                outcome(model, FINITE[name], mode="ar", skip_forced=True, **options)[1:]
                == plain[1:]
            )


@pytest.mark.parametrize("name", SCHEMAS)
def test_sampling_with_a_seed_is_repeatable_and_the_same_in_both_modes(name):
    model = hash_model(TOKENIZERS["merges"], 1)
    for seed in range(6):
        options = {"temperature": 1.0, "top_p": 0.9, "seed": seed}
        plain = outcome(model, SCHEMAS[name], mode="ar", **options)
        assert outcome(model, SCHEMAS[name], **options) == plain
        assert outcome(model, SCHEMAS[name], **options) == plain


@pytest.mark.parametrize("mode", ["ar", "verified"])
def test_sampling_draws_as_under_an_exact_grammar(mode):
    """4,000 draws against the masked model's own distribution; 4.5 standard errors of slack."""
    schema = {"enum": ["aa", "ab", "ac", "ba", "cc", "cd"], "not": {"enum": ["aa", "ac", "cc"]}}
    model = hash_model(byte_tokenizer(), seed=5)
    num_draws = 4000
    drawn = collections.Counter(
        r.arguments
        for i in range(num_draws // 400)
        for r in smoldiff.generate_calls(
            model, schema, ["abc"] * 400, mode=mode, temperature=1.0, seed=i
        )
    )
    assert set(drawn) == {"ab", "ba", "cd"}
    for value, p in exact_distribution(model, ["ab", "ba", "cd"]).items():
        error = (p * (1 - p) / num_draws) ** 0.5
        assert abs(drawn[value] / num_draws - p) < 4.5 * error + 1e-9


def exact_distribution(model, values):
    """P(value) as the product, over its bytes, of the model's probability among the bytes that go on validly."""
    prompt = render_prompt(model.tokenizer, read_messages("abc"), ())
    texts = {value: model.vocabulary.encode(f'"{value}"') for value in values}
    result = {}
    for value, ids in texts.items():
        result[value] = 1.0
        for i, token in enumerate(ids):
            open_ids = sorted({t[i] for t in texts.values() if t[:i] == ids[:i]})
            logits = model.base.logits([*prompt, *ids[:i]])[open_ids].double()
            result[value] *= float(logits.softmax(0)[open_ids.index(token)])
    return result


@pytest.mark.parametrize("mode", ["ar", "verified"])
def test_a_batch_in_which_some_rows_are_revised_writes_what_single_answers_write(mode):
    model = hash_model(TOKENIZERS["merges"], 2)
    messages = [f"hi {i}" * (i + 1) for i in range(6)]
    for name in FINITE:
        singles = [smoldiff.generate_call(model, FINITE[name], m, mode=mode) for m in messages]
        together = smoldiff.generate_calls(model, FINITE[name], messages, mode=mode)
        assert [r.token_ids for r in together] == [r.token_ids for r in singles]
        assert [r.stats.remasked for r in together] == [r.stats.remasked for r in singles]


def test_a_real_models_cache_is_cut_back_too():
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        eos_token_id=258,
        max_position_embeddings=4096,
    )
    model, tokenizer = AutoModelForCausalLM.from_config(config).eval(), byte_tokenizer()
    messages = [f"{'hi ' * i}abc" for i in range(1, 6)]
    schema, num_remasked = FINITE["inside"], 0
    for name, schema in FINITE.items():
        plain = [
            smoldiff.generate_call(model, schema, m, tokenizer=tokenizer, mode="ar")
            for m in messages
        ]
        together = smoldiff.generate_calls(model, schema, messages, tokenizer=tokenizer)
        assert [r.token_ids for r in together] == [r.token_ids for r in plain], name
        num_remasked += sum(r.stats.remasked for r in together)
    assert num_remasked


@pytest.mark.parametrize("tool_choice", ["required", "auto"])
def test_calls_in_frames_are_revised_wherever_they_are_wrong(tool_choice):
    tokenizer = byte_tokenizer()
    liked = tokenizer.convert_tokens_to_ids(["<tool_call>", "\u010a", "}"])  # one more call, mostly
    tools, num_late = as_tool(FINITE["not"]), 0
    for seed in range(12):
        model = Model(HashBase(len(tokenizer), seed, liked), tokenizer, "likes calls")
        plain = outcome(model, tools, mode="ar", tool_choice=tool_choice)
        assert outcome(model, tools, tool_choice=tool_choice) == plain
        if isinstance(plain[0], tuple):
            assert all(is_valid(a["v"], FINITE["not"]) for a in plain[1])
            num_late += plain[2] > 0 and len(plain[1]) > 1
    assert num_late


def test_the_bound_ends_the_search_and_can_be_raised():
    schema = {"type": "integer", "minimum": 100, "maximum": 199, "not": {"maximum": 198}}
    model = hash_model(byte_tokenizer(), 1)
    for bound in (0, 3):
        with pytest.raises(InvalidCall) as caught:
            smoldiff.generate_call(model, schema, "hi", max_remasks=bound)
        assert caught.value.stats.remasked == bound
        assert ("max_remasks=3 was reached; raise max_remasks" in str(caught.value)) == bool(bound)
    assert smoldiff.generate_call(model, schema, "hi", max_remasks=800).arguments == 199
    with pytest.raises(RequestError, match="max_remasks=-1: expected a whole number >= 0"):
        smoldiff.generate_call(model, schema, "hi", max_remasks=-1)


def test_fields_of_an_answer_that_may_be_revised_are_streamed_at_its_end():
    num_remasked = 0
    for seed in range(8):
        model = hash_model(TOKENIZERS["merges"], seed)
        *fields, result = smoldiff.stream_call(model, FINITE["inside"], "hi", mode="ar")
        x = result.arguments["x"]
        known = {"/x": x, "/x/0": x[0], "/x/1": x[-1], "/y": result.arguments["y"]}
        assert "/y" in {f.pointer for f in fields}
        assert all(known[f.pointer] == f.value for f in fields)
        num_remasked += result.stats.remasked
    assert num_remasked


def test_what_was_streamed_is_not_taken_back():
    """The engine does not know that only the last minute of a day can have a leap second."""
    times = {"enum": ["21:58:60Z", "22:58:60Z", "22:58:59Z"], "format": "time"}
    schema = {
        "type": "object",
        "properties": {"a": times, "b": LETTERS},
        "required": ["a", "b"],
        "additionalProperties": False,
    }
    model, fields = hash_model(byte_tokenizer(), 0), []
    with pytest.raises(InvalidCall, match="'time'; what is wrong was streamed already") as caught:
        fields.extend(smoldiff.stream_call(model, schema, "hi", mode="ar"))
    assert [f.value for f in fields] == list(json.loads(caught.value.text).values())


@pytest.mark.parametrize(
    ("text", "schema", "guilty"),
    [
        ('{"a": [1, 2], "b": 3}', {"properties": {"a": {"items": {"maximum": 1}}}}, "2"),
        (
            '{"a": 5, "b": 7}',
            {"allOf": [{"$ref": "#/$defs/x"}], "$defs": {"x": {"properties": {"b": False}}}},
            '"b"',
        ),
        ('{"a": 5, "bc": 7}', {"propertyNames": {"pattern": "^.$"}}, '"bc"'),
        ('{"a": 5, "bcd": 7}', {"propertyNames": {"maxLength": 1}}, '"bc'),
        ('{"a": 5, "b": 7}', {"maxProperties": 1}, '"b"'),
        ('{"a": 5, "b": 7, "c": 1}', {"not": {"required": ["a", "b"]}}, '"b"'),
        ("[1, 2, 1, 3]", {"uniqueItems": True}, "1"),
        (r'["\ud83d\ude00", ["\ud83d", 1]]', {}, r'"\ud83d"'),
        (
            '{"a": 1, "b": 2}',
            {"oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
            '{"a": 1, "b": 2}',
        ),
        (
            '{"a": 1, "b": 2}',
            {"if": {"required": ["b"]}, "then": {"properties": {"a": {"const": 2}}}},
            '{"a": 1, "b": 2}',
        ),
        ('[[1], ["x"]]', {"items": {"type": "array", "contains": {"const": 1}}}, '["x"]'),
        (
            '[1, "x"]',
            {"$schema": "http://json-schema.org/draft-07/schema#", "items": [{}, {"type": "null"}]},
            '"x"',
        ),
        ('[1, "x", 3]', {"prefixItems": [{}, {}], "items": {"type": "null"}}, "3"),
        (
            '{"a b": {"c": 1}}',
            {
                "properties": {"a b": {"$ref": "#/$defs/d%20e"}},
                "$defs": {"d e": {"properties": {"c": {"type": "null"}}}},
            },
            "1",
        ),
        ('{"x": [1, 1e999]}', {}, "1e999"),
        ('{"a": {"a": {"b": 1}}}', {"properties": {"a": {"$ref": "#"}, "b": False}}, '"b"'),
        ('{"a": 1}', {"properties": {"a": {"type": "integer"}}}, None),
    ],
)
def test_the_guilty_part_is_the_smallest_that_is_wrong_by_itself(text, schema, guilty):
    form = AnswerForm(read_source(schema), CallStyle(), JsonStyle(), 1, False)
    part = find_guilty(text, form)
    assert (part and text[part.start : part.end]) == guilty


REFUSED = {
    "lookahead": {"type": "string", "pattern": "^(?!a).{1,3}$", "maxLength": 3},
    "overlapping patterns of keys": {
        "type": "object",
        "properties": {"a": LETTERS},
        "required": ["a"],
        "patternProperties": {"^b": {"enum": [1]}, "^.$": True},
        "additionalProperties": False,
        "maxProperties": 2,
    },
    "a cycle of references": {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$ref": "#/definitions/a",
        "definitions": {
            "a": {
                "type": "object",
                "properties": {
                    "n": {"$ref": "#/definitions/a", "description": "the next"},
                    "k": LETTERS,
                },
                "required": ["k"],
                "additionalProperties": False,
            }
        },
    },
    "required of what is impossible": {
        "type": "object",
        "properties": {"a": {"allOf": [{"minimum": 3}, {"maximum": 2}]}, "b": LETTERS},
        "anyOf": [{"required": ["a"]}, {"required": ["b"]}],
        "additionalProperties": False,
    },
}


@pytest.mark.parametrize("num_keys", [2_500, MAX_PROPERTIES + 1])
def test_an_object_of_thousands_of_keys_is_no_crash(num_keys):
    keys = {f"k{i}": {"const": i} for i in range(num_keys)}
    schema = {"type": "object", "properties": keys, "required": ["k7"], "maxProperties": 1}
    model, options = hash_model(byte_tokenizer()), {"max_tokens": 60, "max_remasks": 1}
    if num_keys < MAX_PROPERTIES:
        assert smoldiff.generate_call(model, schema, "hi", **options).arguments == {"k7": 7}
    else:
        with pytest.raises(GenerationError):  # the grammar says nothing of the keys
            smoldiff.generate_call(model, schema, "hi", **options)


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_engine_refuses_is_decoded_under_what_it_reads(name):
    num_valid = 0
    for seed in range(6):
        model = hash_model(TOKENIZERS["merges"], seed)
        plain = outcome(model, REFUSED[name], mode="ar")
        assert outcome(model, REFUSED[name]) == plain
        if isinstance(plain[0], tuple):
            assert is_valid(plain[1][0], REFUSED[name])
            num_valid += 1
    assert num_valid


def test_each_weaker_schema_allows_what_the_one_before_allows():
    values = [{"a": [1, "xx"], "b": {"c": None}}, {"a": []}, {}, {"b": {}}, {"d": 1}, 3]
    schema = {
        "type": "object",
        "properties": {
            "a": {"$ref": "#/$defs/a", "maxItems": 1},
            "b": {"allOf": [{"minProperties": 1}]},
        },
        "patternProperties": {"^(?=d)": {"maximum": 0}, "^c": {"pattern": "(?!x)"}},
        "additionalProperties": False,
        "$defs": {"a": {"items": {"minLength": 2, "maximum": 0}, "type": "array"}},
    }
    chain = [schema, *weaker(schema, lambda s: "(?" in s["pattern"])]
    allowed = [{i for i, v in enumerate(values) if is_valid(v, one)} for one in chain]
    assert allowed == sorted(allowed, key=len)
    assert all(few <= many for few, many in itertools.pairwise(allowed))
    assert chain[-1] == {"type": "object"}
