"""The whole of a run on two processes: the bundled base, its targets, a real head and its loss, as on one process."""

import json
import os
from pathlib import Path

import pytest
import tiny_head
import torch
from made_targets import TOOLS
from processes import in_processes
from safetensors.torch import load_file

from smoldiff_training.config import from_mapping
from smoldiff_training.head.config import HeadTrainConfig
from smoldiff_training.head.loop import train

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning"),
]
SAID = {
    "plan a trip to Oslo": {"city": "Oslo"},
    "a trip to São Paulo for two, in C": {"city": "São Paulo", "size": 2, "unit": "C"},
    "plan a trip to Nice with the tags sun and sea": {"city": "Nice", "tags": ["sun", "sea"]},
    "a trip to Lima on 2024-05-06": {"city": "Lima", "day": "2024-05-06"},
    "plan a trip from Bern to Rome": {"city": "Bern", "to": {"city": "Rome"}},
    "a trip to Kyoto, nine of us": {"city": "Kyoto", "size": 9},
}
SIZES = {"num_layers": 1, "intermediate_size": 64, "markov_rank": 8, "copy_dim": 8}


@pytest.fixture
def config(tmp_path):
    """Makes the configuration of a run of three steps; the runs share their rows and targets."""
    rows = [
        {
            "source": "made",
            "tools": TOOLS,
            "messages": [{"role": "user", "content": said}],
            "calls": [{"name": "plan_trip", "arguments": arguments}],
        }
        for said, arguments in SAID.items()
    ]
    path, dev = tmp_path / "rows.jsonl", tmp_path / "dev.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    dev.write_text(json.dumps(rows[0] | {"messages": [{"role": "user", "content": "to Riga"}]}))

    def made(name: str, optimizer: str) -> HeadTrainConfig:
        raw = {
            "kind": "head",
            "base": "smoldiff-nano",
            "out": str(tmp_path / name),
            "data": {
                "sources": [{"format": "smoldiff", "path": str(path)}],
                "dev": str(dev),
                "cache": str(tmp_path / "cache"),
                "synthetic_share": 0.0,
                "augment": False,
                "batch_examples": 4,
            },
            "model": SIZES,
            "optim": {"max_steps": 3, "optimizer": optimizer},
            "eval_rows": 0,
            "log_every": 1,
            "tracker": "none",
        }
        cfg: HeadTrainConfig = from_mapping(HeadTrainConfig, raw)
        cfg.check()
        return cfg

    tiny_head.forget_processes()
    yield made
    tiny_head.forget_processes()


def steps(cfg: HeadTrainConfig) -> list[dict[str, float]]:
    lines = Path(cfg.out, "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_two_processes_with_halves_of_each_batch_train_the_head_of_one(config, optimizer):
    two, one = config("two", optimizer), config("one", optimizer)
    in_processes(2, lambda rank: train(two))  # both ask for targets that nobody has made
    train(one)
    assert len(steps(one)) == 3
    for mine, theirs in zip(steps(two), steps(one), strict=True):
        assert theirs["num_positions"] > 0
        assert mine["num_positions"] == theirs["num_positions"]
        for name in ("loss", "cross_entropy", "decision_loss", "guess_loss", "norm"):
            assert mine[name] == pytest.approx(theirs[name], rel=1e-4), name
    exported = load_file(f"{one.out}/head/head.safetensors")
    for name, value in load_file(f"{two.out}/head/head.safetensors").items():
        torch.testing.assert_close(value, exported[name], atol=1e-2, rtol=1e-2)  # bfloat16
