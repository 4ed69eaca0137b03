"""The states that the table gives are the model's own, whatever way its KV cache came about."""

import json

import pytest
import torch

pytest.importorskip("vllm", reason="vLLM is not installed here; `make test-vllm` has it")

from vllm_process import run

import smoldiff
from smoldiff.head.taps import Taps

MAX_ERROR = 1e-4
"""Of states, relative to the largest: both sides compute in float32, in another order."""


@pytest.fixture(scope="module")
def taken(tmp_path_factory):
    """What the table gave to the head, in an engine of its own."""
    path = tmp_path_factory.mktemp("states") / "states.pt"
    run("states_of_engine.py", path)
    return torch.load(path)


def test_states_from_the_table_are_those_of_the_model(taken):
    model = smoldiff.load("smoldiff-nano", device="cpu")
    network, taps = model.base.model, model.head.config.taps
    assert len(taken["snapshots"]) >= 12
    for ids, start, found_LS in taken["snapshots"]:
        with torch.inference_mode(), Taps(taps).reading(network) as read:
            network(torch.tensor([ids]))
            expected_LS = read.states_BTS()[0, start : start + len(found_LS)]
        error = (found_LS - expected_LS).abs().max() / expected_LS.abs().max()
        assert error < MAX_ERROR


def test_all_ways_were_gone(taken):
    counted = json.loads(taken["counted"])
    assert counted["cached prompt tokens"] > 0
    assert counted["parts of prompts"] > 0
    assert counted["rejected drafts"] > 0
    assert counted["preempted"] > 0


def test_only_the_tapped_layers_are_hooked(taken):
    taps = smoldiff.load("smoldiff-nano", device="cpu").head.config.taps
    assert json.loads(taken["counted"])["hooks"] == len(taps) - 1  # the last one is behind the norm
