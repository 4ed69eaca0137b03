"""Taps against what transformers itself gives as hidden states."""

import pytest
import torch
from heads import LAYOUTS, small_model
from torch import nn

from smoldiff.errors import UnsupportedModel
from smoldiff.head.tables import decoder_layers
from smoldiff.head.taps import Taps

IDS = torch.tensor([[5, 9, 2, 200, 17], [1, 1, 3, 40, 50]])


def num_hooks(network) -> int:
    return sum(len(module._forward_hooks) for module in network.modules())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_states_are_the_hidden_states_of_the_layers(layout):
    network = small_model(layout).base.model
    taps = Taps((1, 3, 4))
    with torch.no_grad(), taps.reading(network):
        hidden = network(input_ids=IDS, output_hidden_states=True).hidden_states
    wanted = torch.cat([hidden[1], hidden[3], hidden[4]], -1)
    assert torch.equal(taps.states_BTS(), wanted)


def test_the_last_state_is_the_one_that_the_lm_head_reads():
    network = small_model("llama").base.model
    taps = Taps((4,))
    with torch.no_grad(), taps.reading(network):
        logits = network(input_ids=IDS).logits
    torch.testing.assert_close(network.lm_head(taps.states_BTS()), logits)


def test_no_hook_stays_behind():
    network = small_model().base.model
    with Taps((2, 4)).reading(network):
        assert num_hooks(network) == 2
    assert num_hooks(network) == 0


def test_no_hook_stays_behind_an_error():
    network = small_model().base.model
    with pytest.raises(IndexError), Taps((2, 4)).reading(network):
        network(input_ids=torch.tensor([[10_000]]))
    assert num_hooks(network) == 0


def test_states_carry_no_gradient():
    network = small_model().base.model
    taps = Taps((2, 4))
    with taps.reading(network):
        assert network(input_ids=IDS).logits.requires_grad
    assert not taps.states_BTS().requires_grad


def test_the_states_are_those_of_the_last_pass():
    network = small_model().base.model
    taps = Taps((2,))
    with torch.no_grad(), taps.reading(network):
        network(input_ids=IDS)
        network(input_ids=IDS[:, :2])
    assert taps.states_BTS().shape == (2, 2, 32)


class Other(nn.Module):
    """A network whose layers have another name."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(2, 2)])


def test_a_network_of_another_layout_is_a_clear_error():
    with pytest.raises(UnsupportedModel, match="Other: no decoder with `layers`"):
        decoder_layers(Other())
