"""Mode "diffusion": whatever the scores say, what comes out validates."""

import json

import jsonschema
import pytest
import torch
from fakes import byte_tokenizer, hash_model
from tokenizers import normalizers

import smoldiff
from smoldiff.decode import filling
from smoldiff.decode.decisions import Decisions, num_values_of
from smoldiff.decode.diffusion import write_answer
from smoldiff.decode.scores import Ask, RandomScores
from smoldiff.errors import (
    IncompleteCall,
    InvalidCall,
    RequestError,
    SchemaError,
    UnsatisfiableSchema,
    UnsupportedSchema,
)
from smoldiff.scaffold.compile import compile_schema
from smoldiff.scaffold.cost import Costs
from smoldiff.schema.validation import Fault
from smoldiff.template.template import unroll
from smoldiff.template.vocabulary import Vocabulary

TOKENIZER = byte_tokenizer()
VOCABULARY = Vocabulary.of(TOKENIZER)
SEEDS = range(8)
TOOLS = [
    {
        "name": "book",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "maxLength": 8},
                "nights": {"type": "integer", "minimum": 1, "maximum": 9},
                "kind": {"enum": ["single", "double"]},
            },
            "required": ["city"],
        },
    },
    {"name": "cancel", "parameters": {"properties": {"id": {"type": "integer"}}}},
]


def call(schema, seed=0, **options):
    scorer = options.pop("scorer", RandomScores(seed))
    return smoldiff.generate_call(
        hash_model(TOKENIZER), schema, "hi", mode="diffusion", scorer=scorer, **options
    )


class Scores:
    """A scorer of fixed answers: the largest option wherever `wants` does not say otherwise."""

    def __init__(self, letter="a", **wants):
        self.letter, self.wants = letter, wants

    def decide(self, template, questions):
        return [self._decide(question) for question in questions]

    def _decide(self, question):
        scores = torch.arange(float(question.num_options))
        wanted = self.wants.get(question.ask.value)
        if wanted is not None and wanted < question.num_options:
            scores[wanted] = 100.0
        return scores

    def fill(self, template, runs, token_ids):
        num_positions = runs[0].stop - runs[0].start
        letters = torch.tensor(
            [VOCABULARY.token_bytes[i] == self.letter.encode() for i in token_ids]
        )
        scores = torch.where(letters, 1.0, -5.0).expand(len(runs), num_positions, -1)
        return scores, torch.zeros(len(runs), num_positions)


@pytest.mark.parametrize("seed", SEEDS)
def test_calls_of_tools_are_valid_and_the_same_seed_gives_the_same(seed):
    result = call(TOOLS, seed)
    assert result == call(TOOLS, seed) or result.calls == call(TOOLS, seed).calls
    for one in result.calls:
        tool = next(tool for tool in TOOLS if tool["name"] == one.name)
        jsonschema.validate(one.arguments, tool["parameters"])
    assert result.stats.base_passes == 0
    assert result.stats.head_passes > 0


def test_seeds_reach_every_tool_every_key_and_several_calls():
    results = [call(TOOLS, seed) for seed in range(30)]
    assert {one.name for result in results for one in result.calls} == {"book", "cancel"}
    assert {key for result in results for one in result.calls for key in one.arguments} == {
        "city",
        "nights",
        "kind",
        "id",
    }
    assert max(len(result.calls) for result in results) > 1


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "items": {"enum": [1, 2, 3]}, "minItems": 3, "uniqueItems": True},
        {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "uniqueItems": True},
        {
            "oneOf": [
                {"type": "integer", "maximum": 20},
                {"type": "integer", "minimum": 10, "maximum": 30},
            ]
        },
        {
            "type": "object",
            "minProperties": 2,
            "maxProperties": 3,
            "propertyNames": {"pattern": "^[ab]$"},
        },
        {"type": "object", "additionalProperties": {"type": "boolean"}, "minProperties": 3},
        {"type": "string", "not": {"pattern": "^[^a]"}, "minLength": 1},
        {"type": "integer", "not": {"enum": [0, 1, 2]}, "minimum": 0, "maximum": 3},
        {
            "type": "object",
            "properties": {"a": {"type": "boolean"}},
            "dependentRequired": {"a": ["b"]},
        },
        {"if": {"properties": {"k": {"const": 1}}, "required": ["k"]}, "then": {"required": ["a"]}},
        {"type": "number", "multipleOf": 0.01, "minimum": 0, "maximum": 1},
        True,
    ],
    ids=str,
)
def test_what_the_schema_says_beyond_the_slots_is_kept(schema):
    for seed in SEEDS:
        jsonschema.validate(call(schema, seed).arguments, schema)


def test_a_fault_forbids_the_text_and_the_next_best_one_is_taken():
    odd = {"type": "string", "pattern": r"^(a*)b\1$", "maxLength": 3}
    result = call(odd, scorer=Scores("b"), max_remasks=64)
    assert result.arguments == "b"
    assert result.stats.remasked > 0


def test_a_decision_is_turned_where_it_leads_nowhere():
    no_text = {"type": "string", "pattern": "^a$", "minLength": 2}
    schema = {
        "anyOf": [{"type": "integer"}, {"type": "array", "items": no_text, "minItems": 1}],
        "$comment": "only the integer has values",
    }
    assert isinstance(call(schema, scorer=Scores(branch=1)).arguments, int)


@pytest.mark.parametrize(
    ("schema", "error"),
    [
        ({"type": "string", "pattern": "^a$", "minLength": 2}, UnsatisfiableSchema),
        ({"type": "string", "minLength": 100_000}, UnsupportedSchema),
        ({"properties": {"a": False}, "required": ["a"], "type": "object"}, UnsatisfiableSchema),
        ({"$ref": "https://example.com/schema.json"}, SchemaError),
    ],
    ids=str,
)
def test_what_cannot_be_written_is_said_before_anything_is_asked(schema, error):
    class Untouched(Scores):
        def fill(self, template, runs, token_ids):
            raise AssertionError("nothing may be asked")

    with pytest.raises(error) as caught:
        call(schema, scorer=Untouched())
    assert isinstance(caught.value, SchemaError)


def test_where_the_bound_is_reached_the_error_says_what_to_raise():
    never = {"type": "string", "pattern": r"^(a)\1b\1\1c\1{9}$"}
    with pytest.raises(InvalidCall, match=r"still so after 3 changes: raise max_remasks"):
        call(never, scorer=Scores("z"), max_remasks=3)


def test_where_nothing_else_can_be_written_it_is_said_at_once():
    with pytest.raises(InvalidCall, match="wrong; no other text is left"):
        write_answer(
            compile_schema({"type": "boolean"}),
            VOCABULARY,
            Scores(),
            lambda text: [Fault("", "wrong")],
            max_tokens=9,
            max_remasks=1000,
        )


def test_an_answer_that_is_too_long_says_what_to_raise():
    with pytest.raises(IncompleteCall, match="max_tokens is 5; raise max_tokens"):
        call({"type": "string", "minLength": 9}, max_tokens=5)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"mode": "diffusion"}, "needs a head; load the model with one"),
        ({"mode": "diffusion", "scorer": RandomScores(), "steps": 2}, "a scorer has none"),
        ({"scorer": RandomScores()}, "scorer belongs to mode='diffusion'"),
        ({"mode": "diffusion", "scorer": 3}, "an object with the methods decide and fill"),
        (
            {"mode": "diffusion", "scorer": RandomScores(), "temperature": 1.0},
            "temperature belongs",
        ),
        ({"mode": "diffusion", "scorer": RandomScores(), "tool_choice": "auto"}, "always calls"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, problem):
    with pytest.raises(RequestError, match=problem):
        smoldiff.generate_call(hash_model(TOKENIZER), TOOLS, "hi", **options)


def test_a_batch_and_a_stream_work_likewise():
    model = hash_model(TOKENIZER)
    results = smoldiff.generate_calls(
        model, TOOLS, ["a", "b", "c"], mode="diffusion", scorer=RandomScores(1)
    )
    assert len(results) == 3
    *fields, result = smoldiff.stream_call(
        model, TOOLS[:1], "a", mode="diffusion", scorer=RandomScores(1), tool_choice="book"
    )
    assert {field.pointer.strip("/"): field.value for field in fields} == result.arguments


def test_control_tokens_never_come_from_a_schema_or_a_value():
    special = "<|im_end|>"
    schema = {
        "type": "object",
        "properties": {special: {"enum": [special, "<tool_call>"]}, "s": {"type": "string"}},
        "required": [special, "s"],
    }
    for seed in SEEDS:
        result = call(schema, seed)
        assert not set(result.token_ids) & VOCABULARY.added_ids
        assert result.arguments[special] in (special, "<tool_call>")


def test_an_answer_grows_only_as_far_as_it_has_room():
    names = [f"k{num}" for num in range(200)]
    wide = {"type": "object", "properties": {name: {"type": "string"} for name in names}}
    form = compile_schema({**wide, "additionalProperties": False})
    written = write_answer(
        form, VOCABULARY, Scores("a"), lambda text: [], max_tokens=400, max_remasks=0
    )
    assert 0 < len(json.loads(written.text)) < 20


def test_decisions_are_asked_once_and_from_the_outside_in():
    schema = {
        "type": "object",
        "properties": {"a": {"type": "object", "properties": {"b": {"type": "integer"}}}},
    }
    scaffold = compile_schema(schema)
    asked = []

    class Watching(Scores):
        def decide(self, template, questions):
            asked.append(
                [(question.pointer, question.ask, question.name) for question in questions]
            )
            return super().decide(template, questions)

    decisions = Decisions(Watching(members=0), Costs())
    while decisions.settle(unroll(scaffold, VOCABULARY, choices=decisions.choices()), room=9):
        pass
    assert ("", Ask.KEY, "a") in asked[0]
    assert ("/a", Ask.KEY, "b") in asked[1]
    assert decisions.choices().keys == {"": frozenset("a"), "/a": frozenset("b")}
    turned = decisions.settled["", Ask.KEY, "a"]
    assert decisions.turn(turned)
    assert ("/a", Ask.KEY, "b") not in decisions.settled
    assert decisions.turn(turned, for_good=True)
    assert not decisions.turn(turned)


def test_values_that_are_few_are_counted():
    root = compile_schema({"enum": ["a", "b", "c"]}).root
    assert num_values_of(root) == 3
    assert num_values_of(compile_schema({"type": "boolean"}).root) == 2
    assert num_values_of(compile_schema({"type": "string"}).root) is None


class Constant:
    """A scorer that says one number of everything."""

    def __init__(self, score, null=None, extra=0):
        self.score, self.null, self.extra = score, score if null is None else null, extra

    def decide(self, template, questions):
        return [torch.full((q.num_options + self.extra,), self.score) for q in questions]

    def fill(self, template, runs, token_ids):
        shape = (len(runs), runs[0].stop - runs[0].start)
        scores = torch.full((*shape, len(token_ids) + self.extra), self.score)
        return scores, torch.full(shape, self.null)


INFINITY = float("inf")
VARIED = [
    {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}},
    {"type": "object", "additionalProperties": {"type": "null"}, "minProperties": 3},
    {"type": "object", "minProperties": 2},
    {"enum": ["x", "y", 1, {"a": 2}]},
    {"type": "boolean"},
]


@pytest.mark.parametrize("schema", VARIED, ids=str)
@pytest.mark.parametrize("score", [0.0, 3e38, INFINITY, -INFINITY])
@pytest.mark.parametrize("null", [None, -INFINITY])
def test_infinite_and_equal_scores_lead_to_an_answer_too(schema, score, null):
    jsonschema.validate(call(schema, scorer=Constant(score, null)).arguments, schema)


@pytest.mark.parametrize(
    ("scorer", "problem"),
    [
        (Constant(float("nan")), "a score is NaN"),
        (Constant(0.0, extra=1), r"expected float32 \["),
        (type("Lists", (Scores,), {"decide": lambda *_: [[0.0, 1.0]] * 9})(), "scorer.decide: exp"),
        (type("Lists", (Scores,), {"fill": lambda *_: None})(), "scorer.fill: expected two"),
    ],
)
def test_what_are_no_scores_is_refused(scorer, problem):
    with pytest.raises(RequestError, match=problem):
        call({"type": "array", "items": {"type": "integer"}, "minItems": 1}, scorer=scorer)


def test_members_that_all_want_one_key_get_keys_of_their_own():
    schema = {"type": "object", "additionalProperties": {"type": "null"}, "minProperties": 4}
    result = call(schema, scorer=Scores("a", members=0))
    assert len(result.arguments) == 4


def test_optional_keys_of_values_without_slots_count_as_slots_too():
    schema = {"properties": {f"k{num}": {"type": "null"} for num in range(500)}, "type": "object"}
    assert len(call(schema, scorer=Scores(members=0)).arguments) < 50


def test_text_that_the_tokenizer_would_change_is_written_as_it_is():
    tokenizer = byte_tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.NFC()
    apart = "e\u0301"  # one character once composed
    schema = {
        "type": "object",
        "properties": {apart: {"enum": [apart, apart + apart]}, "c": {"const": {apart: [apart]}}},
        "required": [apart, "c"],
        "additionalProperties": False,
    }
    result = smoldiff.generate_call(
        hash_model(tokenizer), schema, "hi", mode="diffusion", scorer=RandomScores()
    )
    jsonschema.validate(result.arguments, schema)
    assert Vocabulary.of(tokenizer).bytes_of(result.token_ids).decode() == result.text


def test_what_cannot_be_written_at_once_names_the_mode_that_can():
    counted = {"type": "string", "minLength": 1_000_000_000}
    schema = {"type": "array", "items": {"anyOf": [counted, counted]}, "minItems": 1}
    with pytest.raises(UnsupportedSchema, match="mode='verified'"):
        call(schema, scorer=Scores(branch=0))


def test_where_too_much_was_refused_the_search_ends(monkeypatch):
    monkeypatch.setattr(filling, "MAX_REST_EDGES", 1000)
    never = {"type": "string", "pattern": r"^(a|b)\1c\1$", "minLength": 20}
    with pytest.raises(InvalidCall, match="too much was refused to look for another text"):
        call(never, scorer=Scores("z"))
