"""Benchmarks are scripts, never installed: their folder is put on the path as running one of them does."""

import json
import sys
from pathlib import Path

import pytest
import torch

import smoldiff

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

TOOL = {
    "name": "set_light",
    "description": "Switch a light",
    "parameters": {
        "type": "object",
        "properties": {
            "room": {"type": "string", "enum": ["kitchen", "hall"]},
            "on": {"type": "boolean"},
        },
        "required": ["room", "on"],
        "additionalProperties": False,
    },
}


@pytest.fixture(autouse=True)
def _one_thread():
    """Small matrices on shared cores: threads that wait for each other take ten times as long."""
    known = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(known)


@pytest.fixture(scope="session")
def rows():
    """Two examples as a data file holds them."""
    return [
        {
            "id": f"row-{i}",
            "source": f"S{i}",
            "tools": [TOOL],
            "messages": [{"role": "user", "content": f"light on in the {room}"}],
            "calls": [{"name": "set_light", "arguments": {"room": room, "on": True}}],
        }
        for i, room in enumerate(["kitchen", "hall"])
    ]


@pytest.fixture
def data(tmp_path, rows):
    path = tmp_path / "two.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="session")
def head_folder(tmp_path_factory):
    """A head for the bundled model as training starts with it."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("head")
    model = smoldiff.load(device="cpu", head="none")
    smoldiff.DiffusionHead.for_base(model, num_layers=1).save_pretrained(folder)
    return folder
