"""Of a model in transformers' code only the layers that are asked for are hooked; other models are left alone."""

from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModel, SmolLM3Config
from transformers.utils.output_capturing import OutputRecorder, maybe_install_capturing_hooks

from smoldiff_integrations.vllm.head import record_taps_alone


class Target:
    """As vLLM asks a model of transformers for its layers' states."""

    def __init__(self, model):
        self.model = model

    def set_aux_hidden_state_layers(self, layers):
        for layer in layers:
            recorder = OutputRecorder(type(self.model.layers[0]), layer_name=f"layers.{layer - 1}")
            self.model._can_record_outputs[f"aux_{layer}"] = recorder
        maybe_install_capturing_hooks(self.model)


@pytest.fixture
def model():
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    ids = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"), 0)
    config = SmolLM3Config(
        vocab_size=32, num_hidden_layers=3, num_key_value_heads=1, **sizes, **ids
    )
    model = AutoModel.from_config(config)
    record = model._can_record_outputs
    kept = dict(record)
    yield model
    record.clear()  # vLLM's way of asking changes the model's class
    record.update(kept)


def test_only_the_layers_that_are_asked_for_are_hooked(model):
    target = Target(model)
    record_taps_alone(target)
    target.set_aux_hidden_state_layers((2,))
    hooked = [one for one in model.modules() if one._forward_hooks]
    assert hooked == [model.layers[1]]
    assert {"hidden_states", "attentions", "aux_2"} <= model._can_record_outputs.keys()
    seen = []
    model.layers[1].register_forward_hook(lambda module, args, output: seen.append(output))
    found = model(torch.tensor([[1, 2, 3]]), output_aux_2=True, use_cache=False)
    assert torch.equal(found["aux_2"][0], seen[0])


def test_a_model_in_code_of_vllm_is_left_alone():
    target = SimpleNamespace(model=SimpleNamespace(), set_aux_hidden_state_layers="its own")
    record_taps_alone(target)
    assert target.set_aux_hidden_state_layers == "its own"
