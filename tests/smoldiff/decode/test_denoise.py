"""Denoise steps with heads of random weights: whatever they like best, every text is one of its slot's language."""

import json

import pytest
import torch
from draft_cases import (
    ALL_RULES,
    RULES,
    SEEDS,
    TOKENIZER,
    VOCABULARY,
    Case,
    heads_of_all_tastes,
    in_object,
    text_of,
)
from heads import shaken_head, small_model
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import easy_schemas

from smoldiff.decode.gate import read_value
from smoldiff.errors import SchemaError
from smoldiff.head.inputs import NO_TOKEN
from smoldiff.head.readings import MAX_MATCH, Rows
from smoldiff.scaffold.compile import compile_schema
from smoldiff.template.template import MASK


@pytest.fixture(scope="module")
def model():
    return small_model(tokenizer=TOKENIZER)


@pytest.fixture(scope="module")
def heads(model):
    return heads_of_all_tastes(model)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("num_steps", [1, 2, 5])
def test_every_text_is_one_of_its_slots_language(model, heads, seed, num_steps):
    values = json.loads(Case(model, heads[seed], ALL_RULES).text(num_steps))
    assert values.keys() == RULES.keys()
    assert {name: rule(values[name]) for name, (_, rule) in RULES.items()} == dict.fromkeys(
        RULES, True
    )


@settings(max_examples=40, deadline=None)
@given(easy_schemas(), st.sampled_from(SEEDS), st.integers(1, 3))
def test_the_answer_validates_under_any_schema(model, heads, schema, seed, num_steps):
    try:
        case = Case(model, heads[seed], schema)
    except SchemaError:
        return
    fills = case.fill(num_steps)
    texts = {pointer: text_of(one) for pointer, one in fills.items()}
    if all(one.chances for one in fills.values()):  # some have no automaton, or a budget too small
        read_value(
            case.remainder.text(lambda gap: texts[gap.pointer]), compile_schema(schema).source
        )


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("num_steps", [1, 4])
def test_what_is_known_stays(model, heads, seed, num_steps):
    known = {
        "/date": "2024-0",
        "/text": "abab",
        "/integer": "10",
        "/enum": "cel",
        "/pattern": "AB",
    }
    fills = Case(model, heads[seed], ALL_RULES, known).fill(num_steps)
    for pointer, text in known.items():
        one = fills[pointer]
        num = len(one.asked.known_ids)
        assert text_of(one).startswith(text)
        assert tuple(one.token_ids[:num]) == one.asked.known_ids
        assert one.chances[:num] == [1.0] * num
        _, rule = RULES[pointer[1:]]
        value = text_of(one)
        assert rule(json.loads(value) if pointer == "/integer" else value)


def test_what_is_known_but_fits_nothing_gives_no_text(model, heads):
    schema = in_object(unit={"enum": ["C", "K"]})
    (fill,) = Case(model, heads[0], schema, {"/unit": "F"}).fill().values()
    assert (fill.token_ids, fill.is_ended, fill.confidence) == ([], False, 0.0)


def test_a_head_that_likes_null_writes_the_shortest_texts_and_one_that_does_not_the_longest(
    model,
):
    head = shaken_head(model, 5)
    schema = in_object(text={"type": "string", "minLength": 3, "maxLength": 9})
    torch.nn.init.constant_(head.null.bias, 200.0)
    (short,) = Case(model, head, schema).fill().values()
    torch.nn.init.constant_(head.null.bias, -200.0)
    (long,) = Case(model, head, schema).fill().values()
    assert len(text_of(short)) == 3
    assert len(json.loads(f'"{text_of(long)}"')) > 3
    assert short.is_ended


def test_the_best_token_that_may_stand_there_is_taken(model, heads):
    head = heads[2]
    case = Case(model, head, in_object(unit={"enum": ["C", "F", "K"]}))
    encoded = case.denoiser.encode(case.memory, case.asked[0].queries)
    zero = torch.zeros(1, dtype=torch.long)
    at = Rows(zero, zero, torch.full((1, MAX_MATCH), NO_TOKEN))
    with torch.no_grad():
        scores = head.scores(encoded, at, model.tables)
    ids = [VOCABULARY.encode(text)[0] for text in ("C", "F", "K")]
    best = ids[int(scores.log_probs_KV()[0, ids].argmax())]
    (fill,) = case.fill().values()
    assert fill.token_ids == [best]
    assert fill.chances == pytest.approx([float(scores.confidence_K.sigmoid())])


def test_a_step_is_a_pass_of_the_head(model, heads):
    case = Case(model, heads[0], ALL_RULES)
    case.fill(num_steps=4)
    assert case.denoiser.num_passes == 4
    assert len(case.steps) == 4


@pytest.mark.parametrize("seed", SEEDS)
def test_the_surest_tokens_of_a_step_stand_in_the_next(model, heads, seed):
    num_steps = 4
    case = Case(model, heads[seed], ALL_RULES)
    case.fill(num_steps)
    for step, (before, after) in enumerate(zip(case.steps, case.steps[1:], strict=False), 1):
        chances = sorted((c for _, row in before for c in row), reverse=True)
        least = chances[int(len(chances) * step / num_steps)]
        for (ids, row), (new_ids, new_row) in zip(before, after, strict=True):
            for place, (token, chance) in enumerate(zip(ids, row, strict=False)):
                if chance > least:
                    assert new_ids[place] == token
                    assert new_row[place] == chance


@pytest.mark.parametrize("num_steps", [1, 2, 6])
def test_chances_are_the_heads_own_however_often_a_token_is_shown(model, heads, num_steps):
    for fill in Case(model, heads[1], ALL_RULES).fill(num_steps).values():
        assert len(fill.token_ids) <= len(fill.chances) <= len(fill.token_ids) + 1
        assert all(0 < chance < 1 for chance in fill.chances)
        product = torch.tensor(fill.chances, dtype=torch.float64).prod()
        assert fill.confidence == pytest.approx(float(product))


def test_a_head_without_a_confidence_is_as_sure_as_its_probabilities_say(model):
    head = shaken_head(model, 5, has_confidence=False)
    case = Case(model, head, in_object(unit={"enum": ["C", "F"]}, on={"type": "boolean"}))
    fills = case.fill(3)
    chances = [chance for fill in fills.values() for chance in fill.chances]
    assert all(0 < chance < 1 for chance in chances)
    assert len(set(chances)) == len(chances)


def test_the_asked_queries_are_left_as_they_were(model, heads):
    case = Case(model, heads[1], ALL_RULES)
    fills = case.fill(3)
    for asked in case.asked:
        assert {query.token_id for query in asked.queries} == {MASK}
        assert fills[asked.open_slot.pointer].asked is asked


@pytest.mark.parametrize("num_positions", [1, 2, 3, 5])
def test_a_text_fits_into_its_positions(model, heads, num_positions):
    schema = in_object(text={"type": "string"}, size={"type": "integer", "minimum": 1})
    for fill in Case(model, heads[1], schema, positions=num_positions).fill().values():
        assert len(fill.token_ids) <= num_positions
        assert len(fill.asked.queries) == num_positions


def test_where_no_text_fits_into_the_positions_there_is_none(model, heads):
    schema = in_object(day={"type": "string", "format": "date"}, unit={"enum": ["CC", "K"]})
    fills = Case(model, heads[1], schema, positions=1).fill()
    assert (fills["/day"].token_ids, fills["/day"].is_ended) == ([], False)
    assert text_of(fills["/unit"]) == "K"
    assert fills["/unit"].is_ended


def test_a_full_slot_has_ended_only_where_nothing_may_follow(model):
    head = shaken_head(model, 5)
    torch.nn.init.constant_(head.null.bias, -200.0)
    schema = in_object(text={"type": "string"}, code={"type": "string", "pattern": "^[ab]{4}$"})
    fills = Case(model, head, schema, positions=4).fill()
    assert len(fills["/text"].token_ids) == 4
    assert not fills["/text"].is_ended  # the head would have gone on
    assert len(text_of(fills["/code"])) == 4
    assert fills["/code"].is_ended


def test_a_slot_for_any_value_stays_empty(model, heads):
    fills = Case(model, heads[0], in_object(any={}, size={"type": "integer"})).fill(2)
    assert (fills["/any"].token_ids, fills["/any"].is_ended) == ([], False)
    assert fills["/any"].confidence == 0.0
    assert fills["/size"].token_ids


def test_without_slots_nothing_is_filled(model, heads):
    assert Case(model, heads[0], in_object(one={"const": 1})).fill(2) == {}
