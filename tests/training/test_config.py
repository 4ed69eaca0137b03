"""A configuration is checked before anything loads, and says what to change."""

from pathlib import Path

import pytest

from smoldiff_training.__main__ import main
from smoldiff_training.config import ConfigError, TrainConfig, from_mapping, read_config

GOOD = {
    "kind": "base",
    "out": "runs/x",
    "data": {"train": "a", "dev": "b", "mcp_tools": "c", "tokenizer": "d"},
    "optim": {"max_steps": 3},
}


def test_bundled_configuration_is_right():
    cfg = read_config(Path(__file__).parents[2] / "training/configs/nano_base.yaml")
    assert cfg.kind == "base"


def test_whole_numbers_serve_as_floats():
    cfg = from_mapping(TrainConfig, GOOD | {"optim": {"max_seconds": 3}})
    assert cfg.optim.max_seconds == 3.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimm": {}}, "optimm: no such key; did you mean 'optim'?"),
        ({"optim": {"muon_rl": 1}}, "optim.muon_rl: no such key; did you mean 'muon_lr'?"),
        ({"seed": "a"}, "seed: expected int, found 'a'"),
        ({"data": {"train": "a"}}, "data.dev: missing; add it"),
        ({"model": 3}, "model.: expected keys and values, found 3"),
    ],
)
def test_wrong_key_names_itself_and_the_nearest(change, message):
    with pytest.raises(ConfigError) as caught:
        from_mapping(TrainConfig, GOOD | change)
    assert str(caught.value) == message


def test_command_prints_the_problem_and_loads_nothing(tmp_path, capsys):
    path = tmp_path / "c.yaml"
    path.write_text("kind: bas\nout: x\ndata: {train: a, dev: b, mcp_tools: c, tokenizer: d}\n")
    assert main([str(path)]) == 2
    assert "'bas' is not known" in capsys.readouterr().err
    assert main([]) == 2
