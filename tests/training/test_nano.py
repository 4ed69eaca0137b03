"""The bundled model: small enough, opened by plain transformers, and able to call a tool."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from smoldiff_training.base.evaluate import parse_calls

NANO = Path(__file__).parents[2] / "smoldiff" / "nano"


@pytest.fixture(scope="module")
def model():
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(NANO, dtype=torch.float32)


def test_weights_fit(model):
    files = list(NANO.glob("*.safetensors"))
    assert max(f.stat().st_size for f in files) < 15 * 2**20
    num_bytes = 0
    for file in files:
        with safe_open(file, "pt") as weights:
            num_bytes += sum(weights.get_tensor(k).nbytes for k in weights.keys())  # noqa: SIM118 - not a dict
    assert num_bytes <= 20 * 2**20
    assert type(model).__name__ == "SmolLM3ForCausalLM"


@pytest.mark.parametrize(
    ("said", "arguments"),
    [
        ("What is the weather in Oslo?", {"city": "Oslo"}),
        ("weather in Trelborough please, in C", {"city": "Trelborough", "unit": "C"}),
    ],
)
def test_model_calls_a_tool_it_never_saw(model, tokenizer, weather, said, arguments):
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": said}],
        tools=[weather],
        add_generation_prompt=True,
        return_tensors="pt",
    )["input_ids"]
    out = model.generate(ids, max_new_tokens=80, do_sample=False)
    calls = parse_calls(tokenizer.decode(out[0, ids.shape[1] :]))
    assert calls == [{"name": "get_weather", "arguments": arguments}]
