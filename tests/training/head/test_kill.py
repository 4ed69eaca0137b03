"""A run that is killed, at a step or while it writes, goes on to the same losses and weights, bit for bit."""

import json
import os
import signal
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_head
import torch
from safetensors.torch import load_file

from smoldiff_training.head import checkpoint
from smoldiff_training.head.loop import train

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning"),
]
OPTIM = {"optimizer": "muon", "ema_decay": 0.9, "accumulation": 2, "max_steps": 40}
DROPOUT = 0.2


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def in_a_child(action: Callable[[], None]) -> int:
    """Run something in a copy of this process; returns the signal that ended it, or 0."""
    child = os.fork()
    if not child:
        try:
            tiny_head.forget_processes()
            action()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL), f"the child failed: {status}"
    return os.WTERMSIG(status)


def train_in_a_child(out: Path, batches=tiny_head.batches) -> int:
    cfg = tiny_head.config(out, OPTIM)
    return in_a_child(lambda: train(cfg, tiny_head.builder(DROPOUT, batches=batches)))


def killed_at_batch(out: Path, last: int) -> None:
    def batches(first, rank, num_ranks):
        for number, batch in enumerate(tiny_head.batches(first, rank, num_ranks), first):
            if number == last:
                die()
            yield batch

    assert train_in_a_child(out, batches) == signal.SIGKILL


def result(out: Path) -> tuple[list[tuple[int, float]], dict[str, torch.Tensor]]:
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    losses = [(row["step"], row["loss"]) for row in rows if "loss" in row]
    return losses, load_file(out / "head" / "head.safetensors")


def assert_same(out: Path, other: Path) -> None:
    (losses, weights), (other_losses, other_weights) = result(out), result(other)
    assert losses == other_losses
    assert all(torch.equal(weights[k], other_weights[k]) for k in other_weights)
    saved, other_saved = checkpoint.load_checkpoint(out), checkpoint.load_checkpoint(other)
    for mine, theirs in zip(saved.optimizers, other_saved.optimizers, strict=True):
        for i, state in theirs["state"].items():
            assert all(torch.equal(mine["state"][i][k], v) for k, v in state.items())


@pytest.fixture(scope="module")
def straight(tmp_path_factory) -> Path:
    """Trained in this process, so that its children need not import again what a run needs."""
    out = tmp_path_factory.mktemp("straight")
    tiny_head.forget_processes()
    train(tiny_head.config(out, OPTIM), tiny_head.builder(DROPOUT))
    tiny_head.forget_processes()
    return out


def test_two_whole_runs_are_the_same(straight, tmp_path):
    assert train_in_a_child(tmp_path) == 0
    assert_same(tmp_path, straight)
    assert [step for step, _ in result(tmp_path)[0]] == list(range(1, 41))


@pytest.mark.parametrize("last", [[0], [19], [20], [47], [21, 45, 79]], ids=str)
def test_a_run_killed_at_a_batch_goes_on_to_the_same_end(straight, tmp_path, last):
    for number in last:
        killed_at_batch(tmp_path, number)
    assert train_in_a_child(tmp_path) == 0
    assert_same(tmp_path, straight)


@pytest.mark.parametrize(
    "name", ["save_file", "torch.save", "to_disk", "os.rename", "shutil.rmtree"]
)
@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("count", [1, 4])
def test_a_run_killed_while_it_writes_goes_on_to_the_same_end(
    straight, tmp_path, monkeypatch, name, is_after, count
):
    """Killed before or after one of the calls that write a checkpoint, or remove the one before it."""
    *owner, function = name.split(".")
    place = getattr(checkpoint, owner[0]) if owner else checkpoint
    real, calls = getattr(place, function), []

    def deadly(*args, **more):
        calls.append(function)
        if len(calls) == count and not is_after:
            die()
        done = real(*args, **more)
        if len(calls) == count:
            die()
        return done

    with monkeypatch.context() as patch:
        patch.setattr(place, function, deadly)
        assert train_in_a_child(tmp_path) == signal.SIGKILL
    assert train_in_a_child(tmp_path) == 0
    assert_same(tmp_path, straight)
    assert [p.name for p in (tmp_path / checkpoint.FOLDER).iterdir()] == ["step-000000040"]


def test_half_a_checkpoint_is_never_read(tmp_path):
    """Killed in the middle of a file."""

    def half(tensors, path):
        Path(path).write_bytes(b"\0" * 100)
        die()

    cfg = tiny_head.config(tmp_path, OPTIM)

    def action():
        checkpoint.save_file = half
        train(cfg, tiny_head.builder())

    assert in_a_child(action) == signal.SIGKILL
    assert checkpoint.load_checkpoint(tmp_path) is None


def test_a_log_cut_off_in_a_line_goes_on_whole(straight, tmp_path):
    killed_at_batch(tmp_path, 50)
    log = tmp_path / "log.jsonl"
    log.write_text(log.read_text() + '{"step": 26, "lo')
    assert train_in_a_child(tmp_path) == 0
    assert_same(tmp_path, straight)


def test_the_clock_of_a_killed_run_goes_on(tmp_path):
    optim = {"max_steps": 0, "max_seconds": 1.0}
    killed_late = tiny_head.config(tmp_path, optim)

    def batches(first, rank, num_ranks):
        for number, batch in enumerate(tiny_head.batches(first, rank, num_ranks), first):
            if number == 51:
                die()
            yield batch

    build = tiny_head.builder(batches=batches)
    assert in_a_child(lambda: train(killed_late, build)) == signal.SIGKILL
    before = checkpoint.load_checkpoint(tmp_path)
    assert before.elapsed_s > 0
    assert in_a_child(lambda: train(killed_late, tiny_head.builder())) == 0
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    clock = [row["elapsed_s"] for row in rows if "elapsed_s" in row]
    assert clock == sorted(clock)
    assert clock[before.step] >= before.elapsed_s
