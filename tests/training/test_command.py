"""The command: values set beside the file, and one line for everything that stops a run."""

import json
from importlib import import_module
from pathlib import Path

import pytest
from typer.testing import CliRunner

from smoldiff.cli import app
from smoldiff.errors import ModelNotFound
from smoldiff_training.__main__ import main
from smoldiff_training.config import ConfigError, read_config
from smoldiff_training.data.published import SourceError

HEAD = {
    "kind": "head",
    "base": "nano",
    "out": "runs/h",
    "data": {"sources": [{"format": "xlam", "path": "a.jsonl"}], "dev": "dev.jsonl.gz"},
    "optim": {"max_steps": 3},
}


@pytest.fixture
def path(tmp_path) -> Path:
    path = tmp_path / "c.yaml"
    path.write_text(json.dumps(HEAD))
    return path


def test_settings_go_before_the_file_and_make_parts_that_it_has_not(path):
    settings = ["optim.max_steps=7", "optim.muon_lr=1e-3", "model.has_copy=false", "out=x=y"]
    cfg = read_config(path, [*settings, "data.exclude=[a, b]"])
    assert (cfg.optim.max_steps, cfg.optim.muon_lr, cfg.model.has_copy) == (7, 0.001, False)
    assert (cfg.out, cfg.data.exclude, cfg.base) == ("x=y", ("a", "b"), "nano")


def test_the_last_setting_of_a_key_counts_and_may_change_the_kind(path):
    assert read_config(path, ["seed=1", "seed=2"]).seed == 2
    with pytest.raises(ConfigError, match=r"^base: no such key"):
        read_config(path, ["kind=base"])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("optim.muon_rl=1", "optim.muon_rl: no such key; did you mean 'muon_lr'?"),
        ("optim.max_steps=-1", "optim.max_steps: -1; expected 0 or more"),
        ("optim.max_steps=0", "optim: set max_steps or max_seconds, or training never ends"),
        ("out=", "out: expected a text, found None"),
        ("seed", "--set seed: expected key=value, as optim.max_steps=100"),
        ("=1", "--set =1: expected key=value, as optim.max_steps=100"),
        ("out.name=1", "--set out.name=1: out has no keys below it"),
        ("data.dev.x.y=1", "--set data.dev.x.y=1: data.dev has no keys below it"),
        ("seed=[1", "--set seed=[1: '[1' is not YAML"),
    ],
)
def test_a_wrong_setting_says_what_is_right(path, setting, message):
    with pytest.raises(ConfigError) as caught:
        read_config(path, [setting])
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "problem",
    [
        ConfigError("out: a file"),
        SourceError("a.jsonl: no such file"),
        ModelNotFound("could not load 'nano'"),
        FloatingPointError("step 3: the gradient's norm is nan"),
    ],
    ids=lambda problem: type(problem).__name__,
)
def test_what_stops_a_run_is_one_line_and_status_2(path, monkeypatch, capsys, problem):
    def stopped(cfg):
        raise problem

    monkeypatch.setattr(import_module("smoldiff_training.head.loop"), "train", stopped)
    assert main([str(path)]) == 2
    assert capsys.readouterr().err == f"{path}: {problem}\n"


def test_a_mistake_of_ours_keeps_its_trace(path, monkeypatch):
    def broken(cfg):
        raise ZeroDivisionError

    monkeypatch.setattr(import_module("smoldiff_training.head.loop"), "train", broken)
    with pytest.raises(ZeroDivisionError):
        main([str(path)])


def test_a_missing_file_is_named_once(tmp_path, capsys):
    path = tmp_path / "none.yaml"
    assert main([str(path)]) == 2
    assert capsys.readouterr().err == f"{path}: no such file; give the path of a configuration\n"


def test_both_commands_take_settings(path, monkeypatch):
    seen = []
    monkeypatch.setattr(import_module("smoldiff_training.head.loop"), "train", seen.append)
    settings = ["--set", "seed=3", "--set", "optim.max_steps=9"]
    assert main([str(path), *settings]) == 0
    assert CliRunner().invoke(app, ["train", str(path), *settings]).exit_code == 0
    assert [(cfg.seed, cfg.optim.max_steps) for cfg in seen] == [(3, 9), (3, 9)]


def test_help_says_how_to_set_a_value(capsys):
    assert main(["--help"]) == 0
    assert "--set KEY=VALUE" in capsys.readouterr().out
