"""generate(custom_generate=...) gives what generate_call gives."""

import pytest
import torch
from transformers import (
    LogitsProcessor,
    MaxLengthCriteria,
    StoppingCriteria,
    TopKLogitsWarper,
)

import smoldiff
from smoldiff.errors import IncompleteCall, RequestError
from smoldiff_integrations.hf import call_generator

TOOLS = [
    {
        "name": "get_weather",
        "description": "Weather of a city",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "maxLength": 20},
                "unit": {"enum": ["celsius", "fahrenheit"]},
            },
            "required": ["city", "unit"],
        },
    }
]
QUESTIONS = [
    "What is the weather in Paris, in celsius?",
    "Weather in New York please, fahrenheit, right now!",
]


@pytest.fixture(scope="module")
def nano():
    return smoldiff.load("smoldiff-nano", device="cpu")


def inputs_for(nano, questions):
    nano.tokenizer.padding_side = "left"
    messages = [[{"role": "user", "content": q}] for q in questions]
    return nano.tokenizer.apply_chat_template(
        messages,
        tools=TOOLS,
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
        padding=True,
    )


@pytest.mark.parametrize("questions", [QUESTIONS[:1], QUESTIONS], ids=["one", "batch"])
def test_generate_gives_what_generate_call_gives(nano, questions):
    inputs = inputs_for(nano, questions)
    seen = []
    ids = nano.base.model.generate(
        **inputs,
        custom_generate=call_generator(TOOLS, tokenizer=nano.tokenizer, on_results=seen.extend),
        max_new_tokens=200,
    )
    expected = [smoldiff.generate_call(nano, TOOLS, q, max_tokens=200) for q in questions]
    assert [r.arguments for r in seen] == [r.arguments for r in expected]
    for row, result in zip(ids[:, inputs["input_ids"].shape[1] :].tolist(), expected, strict=True):
        n = len(result.token_ids)
        assert tuple(row[:n]) == result.token_ids
        assert row[n] == nano.eos_ids[0]


def generate(nano, questions=QUESTIONS[:1], *, on_results=None, **options):
    generator = call_generator(TOOLS, tokenizer=nano.tokenizer, on_results=on_results)
    return nano.base.model.generate(
        **inputs_for(nano, questions), custom_generate=generator, **options
    )


def test_sampling_settings_of_the_generation_config_are_used(nano):
    def draw():
        torch.manual_seed(3)
        return generate(nano, do_sample=True, temperature=1.5, top_k=0, max_new_tokens=300)

    torch.testing.assert_close(draw(), draw())


def test_each_returned_sequence_is_a_draw_of_its_own(nano):
    seen = []
    options = {"do_sample": True, "temperature": 3.0, "num_return_sequences": 3}
    ids = generate(nano, QUESTIONS, on_results=seen.extend, max_new_tokens=300, **options)
    assert len(ids) == len(seen) == 6
    assert len({r.text for r in seen[:3]}) > 1


def test_without_a_length_smoldiffs_own_applies(nano):
    seen = []
    with pytest.warns(UserWarning, match="model-agnostic default"):
        generate(nano, on_results=seen.extend)
    assert seen[0].calls
    assert seen[0].stats.answer_tokens > 20


@pytest.mark.parametrize(("by", "num_new"), [("max_new_tokens", 20), ("max_length", 19)])
def test_a_length_that_was_set_is_kept(nano, by, num_new):
    num_prompt = inputs_for(nano, QUESTIONS[:1])["input_ids"].shape[1]
    with pytest.raises(IncompleteCall, match=f"max_tokens={num_new} "):
        generate(nano, **{by: num_new + (num_prompt if by == "max_length" else 0)})


def test_one_failing_row_leaves_the_others(nano):
    long = "Weather in Llanfairpwllgwyngyll please, in celsius"
    expected = smoldiff.generate_call(nano, TOOLS, QUESTIONS[0])
    with pytest.raises(IncompleteCall) as caught:
        generate(nano, [long, QUESTIONS[0]], max_new_tokens=32)
    failed, kept = caught.value.results
    assert failed is caught.value
    assert kept.arguments == expected.arguments


@pytest.mark.parametrize(
    "options",
    [
        {"num_beams": 2},
        {"return_dict_in_generate": True},
        {"repetition_penalty": 1.3},
        {"no_repeat_ngram_size": 2},
        {"min_new_tokens": 5},
        {"max_time": 1.0},
        {"do_sample": True, "min_p": 0.1},
        {"do_sample": True, "typical_p": 0.5},
    ],
    ids=lambda options: list(options)[-1],
)
def test_an_option_that_cannot_be_kept_is_refused_by_name(nano, options):
    name = list(options)[-1]
    with pytest.raises(RequestError, match=rf"^{name}=.*(pass {name}=|leave it out)"):
        generate(nano, max_new_tokens=90, **options)


def test_an_option_of_the_checkpoint_is_refused_until_it_is_turned_off(nano, monkeypatch):
    monkeypatch.setattr(nano.base.model.generation_config, "repetition_penalty", 1.1)
    with pytest.raises(RequestError, match=r"pass repetition_penalty=1\.0 to generate\(\)"):
        generate(nano, max_new_tokens=90)
    seen = []
    generate(nano, on_results=seen.extend, max_new_tokens=90, repetition_penalty=1.0)
    assert seen[0].name == "get_weather"


class Nothing(LogitsProcessor):
    def __call__(self, input_ids, scores):
        return scores


class Never(StoppingCriteria):
    def __call__(self, input_ids, scores, **kwargs):
        return False


@pytest.mark.parametrize(
    "options",
    [
        {"logits_processor": [Nothing()]},
        {"logits_processor": [TopKLogitsWarper(3)]},
        {"logits_processor": [TopKLogitsWarper(3)], "do_sample": True},
        {"prefix_allowed_tokens_fn": lambda row, ids: [1]},
        {"stopping_criteria": [Never()]},
        {"stopping_criteria": [MaxLengthCriteria(70)]},
    ],
    ids=["processor", "top_k", "other_top_k", "prefix", "criterion", "other_length"],
)
def test_the_callers_own_processors_and_criteria_are_refused(nano, options):
    with pytest.raises(RequestError, match=r"^(logits_processor|stopping_criteria): \w+ cannot"):
        generate(nano, max_new_tokens=90, **options)


def test_sampling_settings_are_not_mistaken_for_processors(nano):
    seen = []
    options = {"temperature": 0.7, "top_k": 5, "top_p": 0.9, "max_new_tokens": 300}
    generate(nano, on_results=seen.extend, do_sample=True, **options)
    assert seen[0].name == "get_weather"


@pytest.mark.parametrize("name", ["streamer", "inputs_embeds"])
def test_inputs_that_no_callable_can_serve_are_refused(nano, name):
    """generate() keeps a streamer from its callable, so this is the callable on its own."""
    generator = call_generator(TOOLS, tokenizer=nano.tokenizer)
    with pytest.raises(RequestError, match=f"^{name}: "):
        generator(nano.base.model, torch.tensor([[1]]), **{name: object()})
