"""Confidence: the chances of the tokens that a value is written in, and 1 where nothing was open."""

import json
import math
from dataclasses import replace

import pytest
import torch
from fakes import byte_tokenizer, hash_model

import smoldiff
from smoldiff.decode.confidence import Tokens, by_slots, token_chances
from smoldiff.decode.diffusion import write_answer
from smoldiff.decode.scores import Ask, RandomScores
from smoldiff.decode.spans import Part, leaves, value_at
from smoldiff.errors import ModelError
from smoldiff.head.calibration import Calibration
from smoldiff.head.model import DiffusionHead
from smoldiff.template.vocabulary import Vocabulary

TOKENIZER = byte_tokenizer()
CITY = {"type": "string", "maxLength": 4}
OBJECT = {
    "type": "object",
    "properties": {
        "city": CITY,
        "days": {"type": "array", "items": {"type": "integer", "maximum": 99}, "maxItems": 2},
        "unit": {"const": "celsius"},
    },
    "required": ["city", "days", "unit"],
    "additionalProperties": False,
}


def probabilities(model, prompt_ids, ids):
    """The base's own probability of each token, from one pass a token."""
    return [
        float(model.base.logits([*prompt_ids, *ids[:n]]).softmax(-1)[token])
        for n, token in enumerate(ids)
    ]


def prompt_ids(model, messages):
    ids = model.tokenizer.apply_chat_template(
        [{"role": "user", "content": messages}], add_generation_prompt=True, return_dict=False
    )
    return list(ids)


@pytest.mark.parametrize("mode", ["ar", "verified"])
@pytest.mark.parametrize("seed", range(4))
def test_confidence_is_the_product_of_the_tokens_of_a_value_and_its_end(mode, seed):
    model = hash_model(TOKENIZER, seed)
    call = smoldiff.generate_call(model, OBJECT, "hi", mode=mode)
    chances = probabilities(model, prompt_ids(model, "hi"), call.token_ids)  # one byte a token
    content = call.text.index('"', call.text.index(":")) + 1
    end = content + len(json.dumps(call.arguments["city"], ensure_ascii=False)) - 1
    first, stop = (len(call.text[:at].encode()) for at in (content, end))
    assert call.confidence["/city"] == pytest.approx(math.prod(chances[first:stop]), rel=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_every_value_that_holds_no_other_has_a_confidence(seed):
    call = smoldiff.generate_call(hash_model(TOKENIZER, seed), OBJECT, "hi")
    days = call.arguments["days"]
    inside = {f"/days/{at}" for at in range(len(days))} if days else {"/days"}
    assert set(call.confidence) == {"/city", "/unit"} | inside
    assert all(0 <= chance <= 1 for chance in call.confidence.values())


def test_a_constant_and_a_given_value_are_sure():
    call = smoldiff.generate_call(hash_model(TOKENIZER), OBJECT, "hi", given={"/city": "Oslo"})
    assert call.confidence["/unit"] == call.confidence["/city"] == 1


def test_arguments_that_cannot_be_otherwise_are_sure():
    tool = {"name": "now", "parameters": {"type": "object", "properties": {}}}
    call = smoldiff.generate_call(hash_model(TOKENIZER), [tool], "hi", parallel_tool_calls=False)
    assert call.confidence == {"": 1}


def test_an_empty_array_that_could_hold_something_is_not_sure():
    schema = {"type": "array", "items": {"const": 1}, "maxItems": 1}
    found = {}
    for seed in range(30):
        call = smoldiff.generate_call(hash_model(TOKENIZER, seed), schema, "hi")
        found[len(call.arguments)] = call.confidence
    assert found[0][""] < 1
    assert found[1] == {"/0": 1}


def test_a_constant_that_a_union_chose_is_not_sure():
    schema = {"anyOf": [{"type": "object", "properties": {"a": CITY}}, {"type": "null"}]}
    calls = [smoldiff.generate_call(hash_model(TOKENIZER, s), schema, "hi") for s in range(12)]
    nulls = [call.confidence for call in calls if call.arguments is None]
    assert nulls
    assert all(confidence[""] < 1 for confidence in nulls)


def test_a_bare_number_ends_where_the_answer_ends():
    model = hash_model(TOKENIZER, 3)
    call = smoldiff.generate_call(model, {"type": "integer", "maximum": 9999999}, "hi")
    (eos,) = model.eos_ids
    ids = [*call.token_ids, eos]
    chances = probabilities(model, prompt_ids(model, "hi"), ids)
    assert call.confidence[""] == pytest.approx(math.prod(chances), rel=1e-4)


def test_forced_tokens_count_as_sure():
    model = hash_model(TOKENIZER)
    schema = {"enum": ["Monday", "Tuesday"]}
    asked = smoldiff.generate_call(model, schema, "hi", mode="ar")
    skipped = smoldiff.generate_call(model, schema, "hi", mode="ar", skip_forced=True)
    assert skipped.arguments == asked.arguments
    assert skipped.stats.forced
    assert asked.confidence[""] < skipped.confidence[""] <= 1


def test_chances_that_were_written_anew_are_those_of_the_last_text():
    schema = {"type": "string", "maxLength": 3, "not": {"format": "date"}, "pattern": r"^(.)(?!\1)"}
    for seed in range(20):
        model = hash_model(TOKENIZER, seed)
        call = smoldiff.generate_call(model, schema, "hi")
        if call.stats.remasked:
            break
    assert call.stats.remasked
    chances = probabilities(model, prompt_ids(model, "hi"), call.token_ids)
    assert call.confidence[""] == pytest.approx(math.prod(chances[1:]), rel=1e-4)


def test_token_chances_are_a_softmax():
    logits_TV = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    expected = [float(logits_TV[t].softmax(-1)[i]) for t, i in enumerate([3, 0, 6])]
    assert token_chances(logits_TV, [3, 0, 6]) == pytest.approx(expected)
    assert token_chances(logits_TV, []) == []


def test_places_are_bytes_where_the_text_is_not_ascii():
    text = '["é", "b"]'
    tokens = Tokens(text, [2, 4, 5, 7, 10, 11], [0.9, 0.5, 0.4, 0.9, 0.2, 0.9])
    parts = dict(leaves(text, value_at(text, 0)))
    assert tokens.chance(parts["/0"]) == pytest.approx(0.5 * 0.4)
    assert tokens.chance(parts["/1"]) == pytest.approx(0.2)


def test_a_pointer_is_escaped_and_items_have_numbers():
    text = '{"a/b": {"~": [1, []]}, "c": {}}'
    found = {pointer: text[p.start : p.end] for pointer, p in leaves(text, value_at(text, 0))}
    assert found == {"/a~1b/~0/0": "1", "/a~1b/~0/1": "[]", "/c": "{}"}


def test_a_value_that_two_wrote_has_the_chance_of_both():
    sure = by_slots(lambda *_: 0.5, 4, {"/a": 0.4, "/b": 0.9}, {"/c": 0.3, "/b": 0.1})
    assert sure("/a", Part(2, 8)) == pytest.approx(0.2)
    assert sure("/a", Part(1, 3)) == 0.5
    assert sure("/b/0", Part(5, 8)) == 0.9
    assert sure("/c", Part(5, 8)) == 0.3


def test_an_option_has_the_chance_that_the_scores_give_it():
    class Scores(RandomScores):
        def decide(self, template, questions):
            return [
                torch.tensor([0.0, 1.0]) if q.ask is Ask.BRANCH else one
                for q, one in zip(questions, super().decide(template, questions), strict=True)
            ]

    schema = {"anyOf": [{"type": "object", "properties": {"a": CITY}}, {"type": "null"}]}
    written = write_answer(
        smoldiff.compile_schema(schema),
        Vocabulary.of(TOKENIZER),
        Scores(0),
        lambda text: [],
        max_tokens=64,
        max_remasks=1,
    )
    assert written.text == "null"
    assert written.options == {"": pytest.approx(1 / (1 + math.exp(-1)))}


@pytest.fixture(scope="module")
def with_head():
    model = smoldiff.load(head="none")
    torch.manual_seed(0)
    return model.with_head(DiffusionHead.for_base(model, num_layers=1))


def test_a_head_gives_each_value_it_fills_a_confidence(with_head):
    call = smoldiff.generate_call(with_head, OBJECT, "Oslo for 3 days", mode="diffusion", steps=2)
    days = call.arguments["days"]
    inside = {f"/days/{at}" for at in range(len(days))} if days else {"/days"}
    assert set(call.confidence) == {"/city", "/unit"} | inside
    assert call.confidence["/unit"] == 1
    assert 0 < call.confidence["/city"] < 1


def test_a_heads_calibration_is_applied_in_its_mode(with_head):
    plain = smoldiff.generate_call(with_head, OBJECT, "Oslo for 3 days")
    head = DiffusionHead(
        replace(with_head.head.config, verified_calibration=Calibration(0.5, -1.0))
    )
    head.load_state_dict(with_head.head.state_dict())
    humbler = smoldiff.generate_call(with_head.with_head(head), OBJECT, "Oslo for 3 days")
    assert humbler.arguments == plain.arguments
    expected = Calibration(0.5, -1.0).applied(plain.confidence["/city"])
    assert humbler.confidence["/city"] == pytest.approx(expected)
    assert humbler.confidence["/unit"] == 1


def test_scores_of_a_scorer_give_no_confidence():
    call = smoldiff.generate_call(
        hash_model(TOKENIZER), OBJECT, mode="diffusion", scorer=RandomScores(0)
    )
    assert call.confidence == {}


def test_confidence_is_in_the_json_line():
    call = smoldiff.generate_call(hash_model(TOKENIZER), OBJECT, "hi")
    (read,) = json.loads(call.to_json())["calls"]
    assert read["confidence"] == call.calls[0].confidence


def test_calibration_is_a_line_over_log_odds():
    line = Calibration(scale=2.0, offset=1.0)
    chance = line.applied(0.3)
    assert math.log(chance / (1 - chance)) == pytest.approx(2 * math.log(0.3 / 0.7) + 1)
    assert Calibration().applied(0.3) == pytest.approx(0.3)
    assert (line.applied(0.0), line.applied(1.0)) == (0.0, 1.0)
    assert 0 <= Calibration(scale=1e6).applied(1e-9) < Calibration(scale=1e6).applied(1 - 1e-9) <= 1


@pytest.mark.parametrize(
    "values", [(math.nan, 0.0), (0.0, 0.0), (-1.0, 0.0), (1.0, "0"), (True, 0.0)]
)
def test_a_calibration_that_is_no_rising_line_is_refused(values):
    with pytest.raises(ModelError, match="calibration"):
        Calibration(*values)


def test_a_heads_calibration_is_kept_and_older_configurations_are_read(with_head):
    config = replace(with_head.head.config, diffusion_calibration=Calibration(1.5, -0.25))
    raw = json.loads(json.dumps(config.to_json()))
    assert type(config).from_json(raw) == config
    del raw["diffusion_calibration"], raw["verified_calibration"]
    assert type(config).from_json(raw) == with_head.head.config
