"""Targets are what the base itself writes, token for token, with what it thought of each token."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import smoldiff
from smoldiff.errors import UnsupportedSchema
from smoldiff_training.data import targets as module
from smoldiff_training.data.oracle import guesses_of
from smoldiff_training.data.rows import Row
from smoldiff_training.data.targets import NO_CALLS, TargetMaker, TargetOptions, is_own_template


def tool(name: str, **properties) -> dict:
    parameters = {"type": "object", "properties": properties, "required": list(properties)[:1]}
    return {"name": name, "description": name.replace("_", " "), "parameters": parameters}


TEXT = {"type": "string"}
WEATHER = tool("get_weather", city=TEXT, unit={"type": "string", "enum": ["C", "F"]})
ALARM = tool("set_alarm", time=TEXT, label=TEXT, repeat={"type": "boolean"})
LIST = tool("add_to_list", items={"type": "array", "items": TEXT}, count={"type": "integer"})


def row(said: str, *calls: tuple[str, dict], tools=(WEATHER, ALARM, LIST)) -> Row:
    made = [{"name": name, "arguments": arguments} for name, arguments in calls]
    return Row("written here", list(tools), [{"role": "user", "content": said}], made)


RIGHT = row("What is the weather in Oslo?", ("get_weather", {"city": "Oslo"}))
WRONG_VALUE = row("What is the weather in Bergen?", ("get_weather", {"city": "Paris", "unit": "F"}))
WRONG_TOOL = row("Wake me at 7:30, call it gym", ("add_to_list", {"items": ["gym"], "count": 3}))
TWO_CALLS = row(
    "weather in Rome and in Lima",
    ("get_weather", {"city": "Rome"}),
    ("get_weather", {"city": "Lima"}),
)
OTHER_TOOLS = row("Put milk on the list", ("add_to_list", {"items": ["milk"]}), tools=[LIST])
REVISED = row(
    "What is the weather in Oslo?",
    ("get_weather", {"city": "Oslo"}),
    tools=[tool("get_weather", city=TEXT | {"not": {"const": "Oslo"}})],
)
ROWS = [RIGHT, WRONG_VALUE, WRONG_TOOL, TWO_CALLS, OTHER_TOOLS, REVISED]


@pytest.fixture(scope="module")
def model():
    return smoldiff.load(device="cpu")


@pytest.fixture(scope="module")
def made(model):
    return TargetMaker(model).make(ROWS)


def written_by(model, asked: Row) -> smoldiff.CallResult:
    return smoldiff.generate_call(model, asked.tools, asked.messages, mode="ar", max_tokens=256)


def test_answers_are_those_of_mode_ar(model, made):
    assert not made.dropped
    for asked, target in zip(ROWS, made.targets, strict=True):
        result = written_by(model, asked)
        assert tuple(target.answer_ids) == result.token_ids
        assert target.answer_text == result.text
        assert target.tools == asked.tools
        assert target.source == "written here"


def test_a_wrong_row_gets_the_bases_own_call(model, made):
    right, wrong = made.targets[0], made.targets[1]
    assert right.is_gold
    assert not wrong.is_gold
    assert "Bergen" in wrong.answer_text
    assert "Paris" not in wrong.answer_text


def test_a_call_that_the_schema_forbids_is_not_what_the_base_writes(model, made):
    assert written_by(model, REVISED).stats.remasked
    assert not made.targets[-1].is_gold


def test_prompts_are_those_that_the_library_renders(model, made):
    assert is_own_template(model.tokenizer.chat_template)
    for asked, target in zip(ROWS, made.targets, strict=True):
        functions = [{"type": "function", "function": t} for t in asked.tools]
        ids = model.tokenizer.apply_chat_template(
            asked.messages, tools=functions, add_generation_prompt=True, return_dict=False
        )
        assert target.prompt_ids.tolist() == ids


def test_another_template_is_rendered_by_the_tokenizer(model, made, monkeypatch):
    monkeypatch.setattr(module, "is_own_template", lambda template: False)
    (other,) = TargetMaker(model).make([RIGHT]).targets
    assert other.prompt_ids.tolist() == made.targets[0].prompt_ids.tolist()


@torch.no_grad()
def test_best_tokens_are_those_of_a_plain_pass(model, made):
    for target in made.targets:
        ids = torch.tensor([[*target.prompt_ids.tolist(), *target.answer_ids.tolist()]])
        logp = model.base.model(ids).logits[0].float().log_softmax(-1)
        logp = logp[len(target.prompt_ids) - 1 : -1]
        assert target.topk_ids.shape == target.topk_logp.shape == (len(target.answer_ids), 8)
        assert target.topk_ids.dtype == np.int32
        assert target.topk_logp.dtype == np.float16
        seen = logp.gather(1, torch.from_numpy(target.topk_ids).long())
        # float16 keeps 11 bits: a log-probability of -16 to the nearest 1/64
        assert torch.allclose(
            seen, torch.from_numpy(target.topk_logp).float(), rtol=1e-3, atol=1e-3
        )
        assert (seen[:, 0] - logp.max(-1).values).abs().max() < 1e-3


def test_batches_do_not_change_a_target(model, made):
    alone = TargetMaker(model, TargetOptions(batch_rows=1)).make(ROWS)
    for one, other in zip(alone.targets, made.targets, strict=True):
        assert one.answer_ids.tolist() == other.answer_ids.tolist()
        assert np.allclose(one.topk_logp, other.topk_logp, rtol=2e-3, atol=2e-3)


def test_an_answer_that_is_left_is_finished_later(model, made, monkeypatch):
    monkeypatch.setattr(module, "MAX_PASSES", 0)
    late = TargetMaker(model).make(ROWS)
    assert [t.answer_ids.tolist() for t in late.targets] == [
        t.answer_ids.tolist() for t in made.targets
    ]
    assert [t.topk_ids.shape for t in late.targets] == [t.topk_ids.shape for t in made.targets]


def test_rows_that_make_no_target_are_counted(model):
    no_calls = replace(RIGHT, calls=[])
    bad_schema = replace(RIGHT, tools=[tool("get_weather", city={"type": "town"})])
    no_words = replace(RIGHT, messages=[])
    options = TargetOptions(max_tokens=8)
    made = TargetMaker(model, options).make([no_calls, bad_schema, no_words, RIGHT])
    assert not made.targets
    assert made.dropped == {
        NO_CALLS: 1,
        "InvalidSchema": 1,
        "RequestError": 1,
        "IncompleteCall": 1,
    }
    short = TargetMaker(model, TargetOptions(max_prompt_tokens=16)).make([RIGHT])
    assert short.dropped == {"PromptTooLong": 1}


@pytest.mark.parametrize("step", ["start_from_ids", "decode"])
def test_an_error_on_the_way_costs_only_its_own_row(model, made, monkeypatch, step):
    def is_refused(argument) -> bool:
        prompts = [a.prompt_ids for a in argument] if step == "decode" else [argument]
        return any(b"Bergen" in model.vocabulary.bytes_of(prompt) for prompt in prompts)

    def refusing(*arguments):
        if is_refused(arguments[-1]):
            raise UnsupportedSchema("", "too much for the grammar engine")
        return real(*arguments)

    real = getattr(module, step)
    monkeypatch.setattr(module, step, refusing)
    found = TargetMaker(model).make(ROWS)
    assert found.dropped == {"UnsupportedSchema": 1}
    wanted = [t.answer_text for t in made.targets if "Bergen" not in t.answer_text]
    assert [t.answer_text for t in found.targets] == wanted


def test_known_values_stand_at_their_places_in_the_answer(model):
    calls = [{"name": "f", "arguments": {"a/b": ['x "y"', 2]}}]
    scaffold = smoldiff.compile_schema({"type": "object"})
    guesses = guesses_of(calls, scaffold.call_style, scaffold.json_style)
    assert guesses["/0/arguments/a~1b/0"].text == r"x \"y\""
    assert guesses["/0/arguments/a~1b/1"].text == "2"


def test_a_confirmed_answer_is_not_decoded(model, monkeypatch):
    passes = []

    def decode(base, answers):
        for one in real(base, answers):
            passes.append(len(answers))
            yield one

    real = module.decode
    monkeypatch.setattr(module, "decode", decode)
    TargetMaker(model).make([RIGHT])
    assert not passes
