"""A configuration file is all that a run needs: the bundled base, a few rows, and out comes a head that fits it."""

import json

import pytest
import tiny_head
import torch

from smoldiff.decode.model import load
from smoldiff.head.model import DiffusionHead
from smoldiff_training.__main__ import main
from smoldiff_training.config import read_config
from smoldiff_training.head.build import new_head

SIZES = "{num_layers: 1, intermediate_size: 64, markov_rank: 8, copy_dim: 8}"


@pytest.fixture(autouse=True)
def fresh_accelerate():
    tiny_head.forget_processes()
    yield
    tiny_head.forget_processes()


@pytest.fixture
def config(tmp_path, weather):
    """Writes a configuration with some lines more and returns its path."""
    for name, cities in (("train", ("Oslo", "Lima")), ("dev", ("Rome",))):
        rows = [
            {
                "source": "x",
                "tools": [weather],
                "messages": [{"role": "user", "content": f"weather in {c}"}],
                "calls": [{"name": "get_weather", "arguments": {"city": c}}],
            }
            for c in cities
        ]
        lines = [json.dumps(row) + "\n" for row in rows]
        (tmp_path / f"{name}.jsonl").write_text("".join(lines))

    def write(*more: str) -> str:
        path = tmp_path / "head.yaml"
        data = (
            f"{{sources: [{{format: smoldiff, path: {tmp_path}/train.jsonl}}], synthetic_share: 0,"
            f" dev: {tmp_path}/dev.jsonl, cache: {tmp_path}/cache, batch_examples: 2}}"
        )
        lines = ["kind: head", "base: smoldiff-nano", f"data: {data}", "optim: {max_steps: 3}"]
        path.write_text("\n".join([*lines, "tracker: none", f"model: {SIZES}", *more]) + "\n")
        return str(path)

    return write


def test_a_configuration_file_is_trained_and_another_run_starts_from_its_head(config, tmp_path):
    assert main([config(f"out: {tmp_path}/first", "eval_rows: 0")]) == 0
    head = DiffusionHead.from_pretrained(str(tmp_path / "first" / "head"))
    assert head.config.num_layers == 1
    log = [json.loads(line) for line in (tmp_path / "first" / "log.jsonl").read_text().splitlines()]
    assert log[-1]["step"] == 3
    assert log[-1]["num_positions"] > 0
    cfg = read_config(tmp_path / "head.yaml")
    base = load(cfg.base, device="cpu", head="none")
    config(f"out: {tmp_path}/second", f"init: {tmp_path}/first/head")
    second = new_head(read_config(tmp_path / "head.yaml"), base)
    for mine, theirs in zip(second.parameters(), head.parameters(), strict=True):
        assert mine.dtype == torch.float32
        assert torch.equal(mine, theirs.float())


def test_a_run_that_cannot_go_on_says_so_in_a_line(config, tmp_path, capsys):
    (tmp_path / "run.json").write_text('{"config": {"kind": "base"}}')
    assert main([config(f"out: {tmp_path}")]) == 2
    assert "holds a run of kind 'base'; give another folder" in capsys.readouterr().err
