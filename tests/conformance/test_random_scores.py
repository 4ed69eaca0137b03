"""Whatever the scores, whatever the schema: the answer validates, or the error says why there is none.

SMOLDIFF_EXAMPLES=5000 tries as many schemas, other ones each time; without it the same few are tried each time.
"""

import json
import os

import pytest
from conformance.answering import (
    MAX_CPU_S,
    compiled,
    last_gate,
    outcome,
    refutations,
    vocabulary,
    witness,
    write,
)
from fuzz.findings import examine, shown
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from slowness import is_within
from strategies import DRAFTS, easy_schemas, hostile_schemas, schemas

from smoldiff.errors import InvalidCall, SmoldiffError, UnsatisfiableSchema
from smoldiff.schema.validation import Fault

NUM_EXAMPLES = int(os.environ.get("SMOLDIFF_EXAMPLES", "0"))
SEEDS = st.integers(0, 999)


def examples(few):
    return settings(
        max_examples=NUM_EXAMPLES or few,
        derandomize=not NUM_EXAMPLES,
        database=None,
        deadline=None,
        phases=[Phase.generate],  # the fuzzing driver makes findings small
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(scope="module", autouse=True)
def _warm():
    """What the first schema of a process costs is no cost of that schema."""
    for draft in DRAFTS:
        outcome({"$schema": draft.uri, "properties": {"a": {"type": "number"}}})


@examples(120)
@given(schemas(), SEEDS)
def test_an_answer_validates_or_an_error_says_why(schema, seed):
    found = examine(schema, seed)
    assert found is None, shown(found)


@examples(60)
@given(hostile_schemas(), SEEDS)
def test_a_hostile_schema_does_no_harm(schema, seed):
    found = examine(schema, seed)
    assert found is None, shown(found)


@examples(60)
@given(schemas(), SEEDS)
def test_the_same_seed_gives_the_same_tokens_and_never_a_special_one(schema, seed):
    first, again = outcome(schema, seed), outcome(schema, seed)
    if first.answer is None:
        assert str(first.error) == str(again.error)
        return
    assert first.answer == again.answer
    assert not vocabulary().added_ids & set(first.answer.token_ids)
    assert vocabulary().bytes_of(first.answer.token_ids).decode() == first.answer.text


@examples(40)
@given(st.lists(schemas(), min_size=1, max_size=3), SEEDS)
def test_calls_of_tools_validate(parameters, seed):
    tools = [
        {"name": f"t{idx}", "parameters": as_object(one)} for idx, one in enumerate(parameters)
    ]
    what = outcome(tools, seed, max_calls=2)
    assert is_within(MAX_CPU_S, what.cpu_s)
    if what.error is not None:
        return
    calls = calls_in(what.answer.text)
    assert 1 <= len(calls) <= 2
    for text in calls:
        call = json.loads(text)
        assert list(call) == ["name", "arguments"]
        tool = next(tool for tool in tools if tool["name"] == call["name"])
        assert not refutations(tool["parameters"], text_of(text))
    assert added_tokens(what.answer) == ["<tool_call>", "</tool_call>"] * len(calls)


def added_tokens(answer):
    texts = {token: text for text, token in vocabulary().added.items()}
    return [texts[token] for token in answer.token_ids if token in texts]


@pytest.mark.parametrize("seed", range(5))
def test_special_tokens_in_names_and_values_stay_text(seed):
    names = list(vocabulary().added)
    parameters = {
        "type": "object",
        "properties": {name: {"enum": names} for name in names},
        "required": names,
        "additionalProperties": {"type": "string", "pattern": "^<[|]im_end[|]>$"},
    }
    tools = [{"name": name, "parameters": parameters} for name in names]
    what = outcome(tools, seed, max_calls=2)
    assert what.error is None
    calls = calls_in(what.answer.text)
    assert added_tokens(what.answer) == ["<tool_call>", "</tool_call>"] * len(calls)
    for text in calls:
        assert json.loads(text)["name"] in names
        assert not refutations(parameters, text_of(text))


def as_object(schema):
    words = {word: part for word, part in schema.items() if word not in ("type", "nullable")}
    return {**words, "type": "object"}


def calls_in(text):
    """The JSON of each call between its marks, which stand on lines of their own."""
    begin, end = "<tool_call>\n", "\n</tool_call>"
    assert text.startswith(begin)
    assert text.endswith(end)
    return text[len(begin) : -len(end)].split(f"{end}\n{begin}")


def text_of(call):
    """The arguments of a call as they are written."""
    before, _, after = call.partition('"arguments": ')
    assert before.count('"') == 4
    return after[:-1]


@examples(60)
@given(easy_schemas(), SEEDS)
def test_everyday_schemas_always_have_an_answer(schema, seed):
    what = outcome(schema, seed)
    assert what.error is None, (what.error, schema)
    assert not refutations(schema, what.answer.text)


FINITE = {
    "enum": (6, {"enum": ["a", "ab", 'a"', 1, None, {"a": [1]}]}),
    "strings": (5, {"enum": ["a", "ab", "b", "\n", "<|im_end|>"]}),
    "integers": (12, {"type": "integer", "minimum": -3, "maximum": 8}),
    "boolean": (2, {"type": "boolean"}),
    "pattern": (6, {"type": "string", "pattern": "^(a|b){1,2}$"}),
    "steps": (5, {"type": "number", "minimum": 0, "maximum": 2, "multipleOf": 0.5}),
}


@pytest.mark.parametrize(("num_values", "schema"), FINITE.values(), ids=FINITE)
def test_no_text_comes_again_before_every_other_was_tried(num_values, schema):
    scaffold = compiled(schema)
    tried = []

    def refuse(text):
        tried.append(text)
        return [Fault("", "refused")]

    with pytest.raises((InvalidCall, UnsatisfiableSchema)):
        write(scaffold, 0, refuse)
    assert len(set(tried[:num_values])) == num_values
    assert len(set(tried)) == num_values


@examples(30)
@given(schemas(), SEEDS, st.integers(1, 5))
def test_further_answers_differ_from_those_refused(schema, seed, num_refused):
    try:
        scaffold = compiled(schema)
    except SmoldiffError:
        return
    gate, refused = last_gate(scaffold), []

    def find(text):
        faults = gate(text)
        if not faults and len(refused) < num_refused:
            refused.append(text)
            faults = [Fault("", "refused")]
        return faults

    try:
        answer = write(scaffold, seed, find)
    except SmoldiffError:
        return
    assert not refutations(schema, answer.text)
    assert len(refused) == num_refused


@examples(60)
@given(schemas())
def test_what_is_called_unsatisfiable_is(schema):
    error = outcome(schema).error
    if isinstance(error, UnsatisfiableSchema):
        assert witness(schema) is None
