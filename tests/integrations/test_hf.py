"""generate(custom_generate=...) gives what generate_call gives."""

import pytest
import torch

import smoldiff
from smoldiff.errors import RequestError
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


def test_sampling_settings_of_the_generation_config_are_used(nano):
    inputs = inputs_for(nano, QUESTIONS[:1])

    def draw():
        torch.manual_seed(3)
        generator = call_generator(TOOLS, tokenizer=nano.tokenizer)
        return nano.base.model.generate(
            **inputs,
            custom_generate=generator,
            do_sample=True,
            temperature=1.5,
            top_k=0,
            max_new_tokens=300,
        )

    torch.testing.assert_close(draw(), draw())


def test_beams_are_refused(nano):
    with pytest.raises(RequestError, match="num_beams=2"):
        nano.base.model.generate(
            **inputs_for(nano, QUESTIONS[:1]),
            custom_generate=call_generator(TOOLS, tokenizer=nano.tokenizer),
            num_beams=2,
            max_new_tokens=9,
        )
