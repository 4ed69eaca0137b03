"""Denoise steps with heads of random weights: whatever they like best, every text is one of its slot's language."""

import json
from datetime import date, datetime

import pytest
import torch
from fakes import byte_tokenizer
from heads import read_by, shaken_head, small_model
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import easy_schemas

from smoldiff.decode.asked import Asker
from smoldiff.decode.denoise import Denoiser, SlotFill
from smoldiff.decode.gate import read_value
from smoldiff.decode.opening import open_slots
from smoldiff.decode.seen import Seen
from smoldiff.decode.sketch import sketch, sketch_draft
from smoldiff.errors import SchemaError
from smoldiff.head.inputs import NO_TOKEN
from smoldiff.head.model import MAX_MATCH, Rows
from smoldiff.scaffold.budget import budget
from smoldiff.scaffold.compile import compile_schema
from smoldiff.scaffold.cursor import NO_CHOICES, Gap
from smoldiff.template.template import MASK
from smoldiff.template.vocabulary import Vocabulary

TOKENIZER = byte_tokenizer([("a", "b"), ("1", "0"), ("2", "0"), ("20", "2")])
VOCABULARY = Vocabulary.of(TOKENIZER)
PROMPT = VOCABULARY.encode("book it on 2024-05-06")
SEEDS = (0, 1, 2)


@pytest.fixture(scope="module")
def model():
    return small_model(tokenizer=TOKENIZER)


@pytest.fixture(scope="module")
def heads(model):
    """Heads that like short texts, long texts, and neither."""
    found = [shaken_head(model, seed) for seed in SEEDS]
    for head, bias in zip(found, (4.0, -4.0, 0.0), strict=True):
        torch.nn.init.constant_(head.null.bias, bias)
    return found


class Case:
    """A schema as a head sees it after the first pass."""

    def __init__(self, model, head, schema, known=None, positions=None):
        scaffold = compile_schema(schema)
        self.remainder = sketch(scaffold, "", NO_CHOICES)
        draft = sketch_draft(self.remainder, VOCABULARY)
        seen = Seen.of(VOCABULARY, len(PROMPT), [], draft, 0)
        gaps = [piece for piece in self.remainder.pieces if isinstance(piece, Gap)]
        starts = {gap.pointer: (known or {}).get(gap.pointer, "") for gap in gaps}
        room = {gap.pointer: positions or full_budget(gap) for gap in gaps}
        slots = open_slots(self.remainder, "", starts, room)
        self.asked = Asker(VOCABULARY).slots(seen, slots)
        self.memory, _ = read_by(model, head, [*PROMPT, *draft.ids])
        self.steps = []
        self.denoiser = Denoiser(head, model.tables, VOCABULARY, on_step=self.keep)

    def keep(self, step, fills):
        assert step == len(self.steps)
        self.steps.append([(list(f.token_ids), list(f.chances)) for f in fills])

    def fill(self, num_steps=1) -> dict[str, SlotFill]:
        fills = self.denoiser.fill(self.memory, self.asked, num_steps)
        return {one.asked.open_slot.pointer: one for one in fills}

    def text(self, num_steps=1):
        """The whole answer."""
        texts = {pointer: text_of(fill) for pointer, fill in self.fill(num_steps).items()}
        return self.remainder.text(lambda gap: texts[gap.pointer])


def full_budget(gap):
    return budget(gap.slot.language, lambda text: len(VOCABULARY.encode_bytes(text.encode())))


def text_of(fill):
    return VOCABULARY.bytes_of(fill.token_ids).decode()


def in_object(**properties):
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def is_date(text):
    return date.fromisoformat(text) is not None


def is_moment(text):
    return datetime.fromisoformat(text.upper()).tzinfo is not None


RULES = {
    "enum": ({"enum": ["C", "celsius", "celery"]}, lambda v: v in ("C", "celsius", "celery")),
    "mixed enum": ({"enum": [1, "1", None]}, lambda v: v in (1, "1", None)),
    "empty": ({"type": "string", "maxLength": 0}, lambda v: v == ""),
    "integer": ({"type": "integer", "minimum": -7, "maximum": 120}, lambda v: -7 <= v <= 120),
    "step": ({"type": "integer", "minimum": 1, "multipleOf": 7}, lambda v: v >= 1 and v % 7 == 0),
    "number": ({"type": "number", "exclusiveMinimum": 0, "maximum": 2}, lambda v: 0 < v <= 2),
    "boolean": ({"type": "boolean"}, lambda v: v in (True, False)),
    "pattern": (
        {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3}$"},
        lambda v: v[:2].isupper() and v[2] == "-" and v[3:].isdigit() and len(v) == 6,
    ),
    "lengths": ({"type": "string", "minLength": 3, "maxLength": 5}, lambda v: 3 <= len(v) <= 5),
    "date": ({"type": "string", "format": "date"}, is_date),
    "date-time": ({"type": "string", "format": "date-time"}, is_moment),
    "uuid": ({"type": "string", "format": "uuid"}, lambda v: len(v) == 36 and v.count("-") == 4),
    "text": ({"type": "string"}, lambda v: isinstance(v, str)),
}
ALL_RULES = in_object(**{name: schema for name, (schema, _) in RULES.items()})


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
