"""The numbers of a run reach TensorBoard, the terminal and the log; a restart leaves no row twice."""

import io
import json
import re

import pytest
import tiny_head
import torch
from rich.console import Console

from smoldiff_training.head import tracking
from smoldiff_training.head.ema import MovingAverage
from smoldiff_training.head.loop import train
from smoldiff_training.record import Log, commit


@pytest.fixture(autouse=True)
def fresh_accelerate():
    tiny_head.forget_processes()
    yield
    tiny_head.forget_processes()


def test_tensorboard_has_each_step_once_after_a_restart(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def broken(first, rank, num_ranks):
        for number, batch in enumerate(tiny_head.batches(first, rank, num_ranks), first):
            if number == 15:
                raise KeyboardInterrupt
            yield batch

    cfg = tiny_head.config(tmp_path, {"max_steps": 20}, tracker="tensorboard")
    with pytest.raises(KeyboardInterrupt):
        train(cfg, tiny_head.builder(batches=broken))
    tiny_head.forget_processes()
    train(cfg, tiny_head.builder())
    events = EventAccumulator(str(tmp_path / tracking.PROJECT), purge_orphaned_data=True)
    events.Reload()
    assert [e.step for e in events.Scalars("loss")] == list(range(1, 21))
    assert events.Scalars("loss")[0].value > 0
    assert {"tokens_per_s", "peak_bytes", "norm", "evaluation/miss"} <= set(
        events.Tags()["scalars"]
    )


def test_a_terminal_shows_a_bar_and_no_lines(tmp_path, monkeypatch, capsys):
    screen = io.StringIO()
    monkeypatch.setattr(
        tracking, "Console", lambda: Console(file=screen, force_terminal=True, width=120)
    )
    train(tiny_head.config(tmp_path), tiny_head.builder())
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    assert "100%" in shown
    assert re.search(r"step 30  loss \S+  tokens_per_s \S+  peak_bytes", shown)
    assert "{'miss':" in shown
    assert capsys.readouterr().out == ""


def test_elsewhere_each_row_is_a_line(tmp_path, capsys):
    train(tiny_head.config(tmp_path, log_every=10), tiny_head.builder())
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["step"] for row in lines] == [10, 20, 30, 30]
    assert lines == [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]


def test_a_log_is_rewound_to_a_step_and_loses_a_line_cut_off(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"st')
    Log(path, is_on=False).rewind(2)
    assert path.read_text().count("\n") == 3
    Log(path, is_on=True).rewind(2)
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'


def test_the_commit_is_a_whole_hash_or_unknown():
    assert commit() is None or re.fullmatch(r"[0-9a-f]{40}(-dirty)?", commit())


def test_a_young_average_moves_fast_and_an_old_one_by_its_decay():
    layer = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(layer.weight)
    average = MovingAverage(layer, decay=0.9)
    torch.nn.init.ones_(layer.weight)
    expected = 0.0
    for step in (1, 2, 500):
        average.update(step)
        decay = {1: 2 / 11, 2: 3 / 12, 500: 0.9}[step]
        expected = decay * expected + (1 - decay)
        assert average.state_dict()["weight"].item() == pytest.approx(expected)
