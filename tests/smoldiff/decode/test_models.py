"""Real transformers models: loading by path, equality of the modes, several architectures."""

import pytest
import torch
from fakes import CHAT_TEMPLATE, byte_tokenizer
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    MistralConfig,
    SmolLM3Config,
)

import smoldiff
from smoldiff.errors import GenerationError, ModelError, ModelNotFound
from smoldiff.show import DEMO_MESSAGE, DEMO_TOOLS

SMALL = {
    "vocab_size": 300,  # more rows than the tokenizer has tokens, as padded checkpoints have
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "eos_token_id": 258,
    "pad_token_id": 256,
    "bos_token_id": 257,
}
CONFIGS = {
    "smollm3": SmolLM3Config(**SMALL),
    "llama": LlamaConfig(**SMALL),
    "mistral, sliding window": MistralConfig(**SMALL, sliding_window=24),
    "gemma3, alternating windows": Gemma3TextConfig(**SMALL, head_dim=8, sliding_window=24),
}
TOOLS = [
    {
        "name": "book",
        "parameters": {
            "type": "object",
            "properties": {
                "place": {"type": "string", "maxLength": 6},
                "size": {"type": "integer", "minimum": 1, "maximum": 12},
                "area": {"enum": ["inside", "outside"]},
            },
            "required": ["place", "size"],
        },
    },
    {"name": "ping", "parameters": {"type": "object", "properties": {}}},
]
QUESTIONS = ["a table at Nopa", "ping, please, and then once more", "six at Zuni, outside"]


def random_model(config):
    torch.manual_seed(1)
    return AutoModelForCausalLM.from_config(config).eval()


def texts(model, tokenizer=None, **options):
    try:
        results = smoldiff.generate_calls(
            model, TOOLS, QUESTIONS, tokenizer=tokenizer, max_tokens=120, **options
        )
    except GenerationError as problem:
        results = problem.results
    return [r.text for r in results]


@pytest.mark.parametrize("name", CONFIGS)
def test_verified_batched_writes_what_ar_writes_alone(name):
    model, tokenizer = random_model(CONFIGS[name]), byte_tokenizer()
    single = []
    for question in QUESTIONS:
        try:
            result = smoldiff.generate_call(
                model, TOOLS, question, tokenizer=tokenizer, max_tokens=120, mode="ar"
            )
            single.append(result.text)
        except GenerationError as problem:
            single.append(problem.text)
    assert texts(model, tokenizer, mode="ar") == single
    assert texts(model, tokenizer) == single


def test_a_model_loads_from_a_folder(tmp_path):
    random_model(CONFIGS["smollm3"]).save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    model = smoldiff.load(str(tmp_path), device="cpu")
    assert model.tokenizer.chat_template == CHAT_TEMPLATE
    assert model.base.model.dtype == torch.float32
    assert texts(model) == texts(random_model(CONFIGS["smollm3"]), byte_tokenizer())


def test_a_dtype_may_be_chosen_by_name_and_a_wrong_one_is_named():
    assert (
        smoldiff.load("smoldiff-nano", device="cpu", dtype="bfloat16").base.model.dtype
        == torch.bfloat16
    )
    with pytest.raises(ModelError, match="dtype='float7'"):
        smoldiff.load("smoldiff-nano", dtype="float7")


def test_a_device_that_is_not_there_is_a_clear_error():
    with pytest.raises(ModelError, match="device='gpu'"):
        smoldiff.load("smoldiff-nano", device="gpu")


def test_four_bits_without_bitsandbytes_say_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"smoldiff\[quantized\]"):
        smoldiff.load("smoldiff-nano", load_in_4bit=True)


def test_a_folder_without_a_model_is_a_clear_error(tmp_path):
    with pytest.raises(ModelNotFound, match="could not load"):
        smoldiff.load(str(tmp_path))


@pytest.mark.parametrize("drafter", ["scaffold", "copy", "parallel", "parallel+copy"])
def test_the_bundled_model_writes_the_same_with_every_drafter(drafter):
    model = smoldiff.load("smoldiff-nano", device="cpu")
    plain = smoldiff.generate_call(model, DEMO_TOOLS, DEMO_MESSAGE, mode="ar")
    drafted = smoldiff.generate_call(model, DEMO_TOOLS, DEMO_MESSAGE, drafter=drafter)
    assert drafted.token_ids == plain.token_ids
    assert drafted.stats.base_passes < plain.stats.base_passes / 2


def test_skipping_forced_tokens_never_splits_a_token_that_the_base_writes_whole():
    """The bundled model was trained on whole tokens only: behind a forced split it would go astray."""
    model = smoldiff.load("smoldiff-nano", device="cpu")
    plain = smoldiff.generate_call(model, DEMO_TOOLS, DEMO_MESSAGE, mode="ar")
    skipped = smoldiff.generate_call(model, DEMO_TOOLS, DEMO_MESSAGE, mode="ar", skip_forced=True)
    assert skipped.arguments == plain.arguments
    assert skipped.token_ids == plain.token_ids
    assert skipped.stats.base_passes + skipped.stats.forced <= plain.stats.base_passes + 1
    assert skipped.stats.base_passes < plain.stats.base_passes
