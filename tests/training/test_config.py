"""A configuration is checked before anything loads, and says what to change."""

import subprocess
import sys
from pathlib import Path

import pytest

from smoldiff_training.__main__ import main
from smoldiff_training.base.config import BaseTrainConfig
from smoldiff_training.config import ConfigError, from_mapping, read_config
from smoldiff_training.head.config import HeadTrainConfig, SourceConfig

GOOD = {
    "kind": "base",
    "out": "runs/x",
    "data": {"train": "a", "dev": "b", "mcp_tools": "c", "tokenizer": "d"},
    "optim": {"max_steps": 3},
}
SOURCE = {"format": "xlam", "path": "a.jsonl"}
HEAD = {
    "kind": "head",
    "base": "nano",
    "out": "runs/h",
    "data": {"sources": [SOURCE], "dev": "dev.jsonl.gz"},
    "optim": {"max_steps": 3},
}


def written(tmp_path, raw: object) -> Path:
    import yaml

    path = tmp_path / "c.yaml"
    path.write_text(raw if isinstance(raw, str) else yaml.safe_dump(raw), encoding="utf-8")
    return path


def test_bundled_configuration_is_right():
    cfg = read_config(Path(__file__).parents[2] / "training/configs/nano_base.yaml")
    assert cfg.kind == "base"


def test_whole_numbers_serve_as_floats():
    cfg = from_mapping(BaseTrainConfig, GOOD | {"optim": {"max_seconds": 3}})
    assert cfg.optim.max_seconds == 3.0
    assert isinstance(cfg.optim.max_seconds, float)


def test_kind_says_which_dataclass_a_file_is_read_as(tmp_path):
    assert isinstance(read_config(written(tmp_path, GOOD)), BaseTrainConfig)
    assert isinstance(read_config(written(tmp_path, HEAD)), HeadTrainConfig)


def test_lists_become_tuples_of_their_part(tmp_path):
    data = HEAD["data"] | {"sources": [SOURCE, SOURCE | {"weight": 2}], "exclude": ["x", "y"]}
    cfg = read_config(written(tmp_path, HEAD | {"data": data}))
    assert cfg.data.sources == (SourceConfig("xlam", "a.jsonl"), SourceConfig("xlam", "a.jsonl", 2.0))  # fmt: skip
    assert cfg.data.exclude == ("x", "y")


def test_exponent_without_a_point_is_a_number_though_yaml_reads_text(tmp_path):
    text = "kind: head\nbase: nano\nout: x\ndata: {sources: [{format: xlam, path: a}], dev: b}\n"
    cfg = read_config(written(tmp_path, text + "optim: {muon_lr: 1e-3, max_steps: 5}\n"))
    assert cfg.optim.muon_lr == 0.001


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimm": {}}, "optimm: no such key; did you mean 'optim'?"),
        ({"optim": {"muon_rl": 1}}, "optim.muon_rl: no such key; did you mean 'muon_lr'?"),
        ({"muon_lr": 1}, "muon_lr: no such key; did you mean 'optim.muon_lr'?"),
        ({3: 1}, "3: no such key; known: kind, out, data, model, optim, init, seed, compile, resume, log_every, checkpoint_every_s, eval_rows, eval_batch"),
        ({"seed": "a"}, "seed: expected a whole number, found 'a'"),
        ({"seed": True}, "seed: expected a whole number, found True"),
        ({"compile": 1}, "compile: expected true or false, found 1"),
        ({"data": {"train": "a"}}, "data.dev: missing; add it"),
        ({"model": 3}, "model: expected keys and values, found 3"),
        ({"model": {"num_layers": 0}}, "model.num_layers: 0; expected 1 or more"),
        ({"kind": "bas"}, "kind: 'bas' is not known; did you mean 'base'?"),
    ],
)  # fmt: skip
def test_wrong_key_names_itself_and_the_nearest(change, message):
    with pytest.raises(ConfigError) as caught:
        from_mapping(BaseTrainConfig, GOOD | change)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optim": {"schedule": "onecyle"}}, "optim.schedule: 'onecyle' is not known; did you mean 'onecycle'?"),
        ({"optim": {"optimizer": "lion"}}, "optim.optimizer: 'lion' is not known; known: auto, muon, adamw"),
        ({"noise": {"full_mask_share": 1.4}}, "noise.full_mask_share: 1.4; expected 0 to 1"),
        ({"optim": {"ema_decay": 1}}, "optim.ema_decay: 1.0; expected 0 to 1, 1 itself excluded"),
        ({"optim": {"muon_lr": 0}}, "optim.muon_lr: 0.0; expected more than 0"),
        ({"optim": {"max_seconds": float("nan")}}, "optim.max_seconds: nan; expected 0 or more"),
        ({"optim": {"muon_lr": "fast"}}, "optim.muon_lr: expected a number, found 'fast'"),
        ({"optim": {"muon_lr": False}}, "optim.muon_lr: expected a number, found False"),
        ({"loss": {"chunk_rows": 0}}, "loss.chunk_rows: 0; expected 1 or more"),
        ({"out": None}, "out: expected a text, found None"),
        ({"data": {"sources": SOURCE, "dev": "d"}}, f"data.sources: expected a list, found {SOURCE!r}"),
        ({"data": {"sources": [SOURCE, {"fromat": "xlam"}], "dev": "d"}}, "data.sources[1].fromat: no such key; did you mean 'format'?"),
        ({"data": {"sources": [SOURCE | {"format": "hermess"}], "dev": "d"}}, "data.sources[0].format: 'hermess' is not known; did you mean 'hermes'?"),
        ({"data": {"sources": [SOURCE], "dev": "d", "exclude": "x"}}, "data.exclude: expected a list, found 'x'"),
        ({"data": {"sources": [], "dev": "d"}}, "data.sources: empty; give at least one, with `format` and `path`"),
        ({"optim": {}}, "optim: set max_steps or max_seconds, or training never ends"),
        ({"noise": {"full_mask_share": 0.9}}, "noise: full_mask_share and prefix_share are more than 1 together; lower one"),
        ({"loss": {"ce_weight": 0}}, "loss: ce_weight and tv_weight are both 0; set one, or nothing is learned"),
        ({"optim": {"max_steps": 1, "schedule": "wsd", "decay_share": 1}}, "optim: warmup_share and decay_share are more than 1 together; lower one"),
        ({"model": {"num_heads": 6, "num_kv_heads": 4}}, "model.num_heads: 6 is no multiple of num_kv_heads, 4; change one"),
    ],
)  # fmt: skip
def test_wrong_value_of_a_head_says_what_is_right(tmp_path, change, message):
    with pytest.raises(ConfigError) as caught:
        read_config(written(tmp_path, HEAD | change))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file: expected keys and values, found None"),
        ("- a", "the file: expected keys and values, found ['a']"),
        ("out: x", "kind: missing; add it, one of base, head"),
        ("kind: [head]", "kind: ['head'] is not known; did you mean 'head'?"),
    ],
)
def test_file_of_no_kind_says_which_kinds_there_are(tmp_path, text, message):
    with pytest.raises(ConfigError) as caught:
        read_config(written(tmp_path, text))
    assert str(caught.value) == message


def test_file_that_is_not_yaml_says_on_which_line(tmp_path):
    with pytest.raises(ConfigError, match=r"(?s)^not YAML: .*line 2"):
        read_config(written(tmp_path, "kind: head\nout: [x\n"))


def test_reading_a_configuration_imports_no_torch(tmp_path):
    code = (
        "import sys; from pathlib import Path; from smoldiff_training.config import read_config;"
        f"read_config(Path({str(written(tmp_path, HEAD))!r})); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_command_prints_the_problem_and_loads_nothing(tmp_path, capsys):
    path = written(tmp_path, GOOD | {"kind": "bas"})
    assert main([str(path)]) == 2
    assert "'bas' is not known" in capsys.readouterr().err
    assert main([]) == 2
