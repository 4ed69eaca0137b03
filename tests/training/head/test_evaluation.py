"""What a run scores its head on, and how it refuses what cannot be scored or learned from."""

import gzip
import json

import pytest
import tiny_head
import torch
from made_targets import TOOLS

from smoldiff.decode.model import load
from smoldiff.head.model import DiffusionHead
from smoldiff_training.config import ConfigError
from smoldiff_training.data.store import NoTargets
from smoldiff_training.head import build

ROW = {
    "source": "made",
    "tools": TOOLS,
    "messages": [{"role": "user", "content": "plan a trip to Oslo"}],
    "calls": [{"name": "plan_trip", "arguments": {"city": "Oslo"}}],
}


@pytest.fixture
def dev(tmp_path):
    path = tmp_path / "dev.jsonl.gz"
    with gzip.open(path, "wt") as out:
        out.write(2 * (json.dumps(ROW) + "\n"))
    return path


def config(dev, eval_rows=1):
    data = {"sources": [{"format": "smoldiff", "path": "none"}], "dev": str(dev)}
    return tiny_head.config("none", data=data, eval_rows=eval_rows)


def test_a_head_is_scored_through_inference_on_rows_of_dev(dev):
    base = load(head="none")
    torch.manual_seed(0)
    head = DiffusionHead.for_base(base, num_layers=1, intermediate_size=64)
    scores = build.evaluation_of(config(dev), base)(head, 3)
    assert scores.keys() >= {"base_passes", "exact", "errors"}
    assert scores["errors"] == 0.0
    assert scores["base_passes"] >= 1


def test_nothing_is_scored_where_no_rows_are_asked_for(dev):
    assert build.evaluation_of(config(dev, eval_rows=0), None) is None
    assert build.evaluation_of(config(""), None) is None


@pytest.mark.parametrize(
    ("name", "said"), [("none.jsonl.gz", "no such file"), ("plain.jsonl", "not packed")]
)
def test_rows_that_cannot_be_read_are_refused_before_anything_is_built(tmp_path, name, said):
    (tmp_path / "plain.jsonl").write_text(json.dumps(ROW) + "\n")
    with pytest.raises(ConfigError, match=rf"^data\.dev: .*{name}: {said}; give .* `eval_rows: 0`"):
        build.evaluation_of(config(tmp_path / name), None)


def test_rows_that_make_no_target_are_an_error_of_the_configuration(dev, monkeypatch):
    def none(*arguments, **options):
        raise NoTargets("no row made a target; dropped: {}")

    monkeypatch.setattr(build, "cached_targets", none)
    with pytest.raises(ConfigError, match=r"^data\.sources: no row made a target"):
        build.training_targets(config(dev), [], "cpu", is_small=True)


def test_a_cpu_with_a_number_is_the_cpu():
    """As accelerate names it where several processes share one."""
    assert build.device_name(torch.device("cpu", 0)) == "cpu"
    assert build.device_name(torch.device("cuda", 1)) == "cuda:1"
