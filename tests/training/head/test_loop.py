"""A head's training on one process: what it leaves behind, what it refuses, and what changes nothing."""

import json
from itertools import islice
from pathlib import Path

import pytest
import tiny_head
import torch
from accelerate.utils import DistributedType
from safetensors.torch import load_file

from smoldiff_training.config import ConfigError
from smoldiff_training.head.checkpoint import newest_folder
from smoldiff_training.head.loop import Due, train
from smoldiff_training.record import commit


@pytest.fixture(autouse=True)
def fresh_accelerate():
    tiny_head.forget_processes()
    yield
    tiny_head.forget_processes()


def rows(out) -> list[dict]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def losses(out) -> list[float]:
    return [row["loss"] for row in rows(out) if "loss" in row]


def run(cfg, **options) -> list[float]:
    tiny_head.forget_processes()
    train(cfg, tiny_head.builder(**options))
    return losses(Path(cfg.out))


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
@pytest.mark.parametrize("schedule", ["onecycle", "cosine", "wsd"])
def test_it_learns_and_leaves_a_head(tmp_path, optimizer, schedule):
    optim = {"optimizer": optimizer, "schedule": schedule, "max_steps": 120}
    found = run(tiny_head.config(tmp_path, optim, log_every=10))
    assert len(found) == 12
    assert found[-1] < 0.3 * found[0]
    exported = load_file(tmp_path / "head" / "head.safetensors")
    saved = load_file(newest_folder(tmp_path) / "head.safetensors")
    assert all(torch.equal(exported[k], saved[k]) for k in saved)


def test_conditions_and_numbers_lie_beside_the_checkpoint(tmp_path):
    run(tiny_head.config(tmp_path, {"max_steps": 3}, seed=7))
    conditions = json.loads((tmp_path / "run.json").read_text())
    assert conditions["seed"] == 7
    assert conditions["config"]["optim"]["max_steps"] == 3
    assert {"torch", "accelerate", "safetensors"} <= conditions["versions"].keys()
    assert conditions["commit"] == commit()
    first, *_, last = rows(tmp_path)
    assert first.keys() >= {"step", "loss", "worst", "norm", "rate", "tokens_per_s", "peak_bytes"}
    assert first["num_positions"] == tiny_head.EXAMPLES
    assert first["peak_bytes"] > 1e6
    assert last["step"] == 3
    assert last["evaluation"].keys() == {"miss"}


def test_accumulated_batches_are_one_large_batch(tmp_path):
    def joined(first, rank, num_ranks):
        halves = tiny_head.batches(2 * first, rank, num_ranks)
        while True:
            a, b = islice(halves, 2)
            yield {k: torch.cat([a[k], b[k]]) for k in a}

    one = run(tiny_head.config(tmp_path / "one"), batches=joined)
    two = run(tiny_head.config(tmp_path / "two", {"accumulation": 2}))
    assert two == pytest.approx(one, rel=1e-4)
    assert rows(tmp_path / "two")[0]["num_positions"] == 2 * tiny_head.EXAMPLES


def test_an_evaluation_changes_nothing(tmp_path):
    plain = run(tiny_head.config(tmp_path / "plain"), dropout=0.2)
    scored = run(tiny_head.config(tmp_path / "scored", eval_every_s=1e-9), dropout=0.2)
    assert scored == plain
    assert [r["step"] for r in rows(tmp_path / "scored") if "evaluation" in r] == [10, 20, 30]


def test_the_average_is_what_is_scored_and_exported(tmp_path):
    seen = []

    def score(head, step):
        seen.append({k: v.clone() for k, v in head.state_dict().items()})
        return {"miss": 0.0}

    plain = run(tiny_head.config(tmp_path / "plain"))
    assert run(tiny_head.config(tmp_path / "ema", {"ema_decay": 0.9}), evaluate=score) == plain
    exported = load_file(tmp_path / "ema" / "head" / "head.safetensors")
    average = load_file(newest_folder(tmp_path / "ema") / "ema.safetensors")
    last = load_file(newest_folder(tmp_path / "ema") / "head.safetensors")
    for name, value in average.items():
        assert torch.equal(exported[name], value)
        assert torch.equal(seen[-1][name], value)
        assert not torch.equal(last[name], value)


def test_a_finished_run_exports_again_and_does_nothing_else(tmp_path):
    cfg = tiny_head.config(tmp_path)
    first = run(cfg)
    (tmp_path / "head" / "head.safetensors").unlink()
    assert run(cfg) == first
    assert (tmp_path / "head" / "head.safetensors").is_file()


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
def test_gradient_checkpointing_is_asked_of_the_head_and_compilation_of_its_layers(tmp_path):
    heads = []

    def build(cfg, accelerator):
        parts = tiny_head.builder()(cfg, accelerator)
        heads.append(parts.head)
        return parts

    with torch.compiler.set_stance("force_eager"):
        train(tiny_head.config(tmp_path, gradient_checkpointing=True, compile=True), build)
    assert heads[0].is_checkpointing
    assert all(layer._compiled_call_impl is not None for layer in heads[0].layers)


def test_bfloat16_is_close_to_float32(tmp_path):
    full = run(tiny_head.config(tmp_path / "full"))
    half = run(tiny_head.config(tmp_path / "half", precision="bfloat16"))
    assert half != full
    assert half == pytest.approx(full, rel=0.1)
    weights = load_file(newest_folder(tmp_path / "half") / "head.safetensors")
    assert all(w.dtype == torch.float32 for w in weights.values())


def test_a_limit_in_seconds_ends_the_run(tmp_path):
    cfg = tiny_head.config(tmp_path, {"max_steps": 0, "max_seconds": 0.3}, log_every=10)
    run(cfg)
    last = rows(tmp_path)[-2]
    assert last["elapsed_s"] >= 0.3
    assert last["rate"] < 0.5


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 1}, "seed is 0 there and 1 here"),
        ({"precision": "bfloat16"}, "precision is 'auto' there and 'bfloat16' here"),
        ({"optim": {"adam_lr": 0.5}}, r"optim.adam_lr is 0.01 there and 0.5 here"),
        ({"optim": {"optimizer": "muon"}}, "optim.optimizer is 'adamw' there and 'muon' here"),
    ],
)
def test_a_checkpoint_of_another_configuration_is_refused(tmp_path, change, named):
    run(tiny_head.config(tmp_path))
    with pytest.raises(ConfigError, match=named):
        run(tiny_head.config(tmp_path, **change))


def test_what_does_not_change_the_result_may_differ_from_the_checkpoint(tmp_path):
    run(tiny_head.config(tmp_path))
    changed = tiny_head.config(tmp_path, log_every=7, eval_rows=1, gradient_checkpointing=True)
    assert len(run(changed)) == 30


def test_a_run_is_not_written_over(tmp_path):
    run(tiny_head.config(tmp_path))
    with pytest.raises(ConfigError, match="holds a run; set `resume: true`"):
        run(tiny_head.config(tmp_path, resume=False))
    (tmp_path / "run.json").write_text('{"config": {"kind": "base"}}')
    with pytest.raises(ConfigError, match="holds a run of kind 'base'"):
        run(tiny_head.config(tmp_path))
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="is a file; give a folder"):
        run(tiny_head.config(tmp_path / "file"))


def test_a_part_that_no_loss_reaches_is_named(tmp_path):
    def build(cfg, accelerator):
        parts = tiny_head.builder()(cfg, accelerator)
        parts.head.extra = torch.nn.Linear(2, 2, bias=False)
        return parts

    with pytest.raises(ConfigError, match=r"no gradient reaches extra\.weight"):
        train(tiny_head.config(tmp_path), build)


def test_broken_weights_are_never_saved(tmp_path):
    def infinite(first, rank, num_ranks):
        for number, batch in enumerate(tiny_head.batches(first, rank, num_ranks), first):
            yield {**batch, "targets": batch["targets"] * (float("inf") if number == 15 else 1)}

    with pytest.raises(FloatingPointError, match="step 20: the gradient's norm is"):
        run(tiny_head.config(tmp_path), batches=infinite)
    assert newest_folder(tmp_path).name == "step-000000010"


def test_a_tracker_that_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        ConfigError, match="tracker: wandb is not installed; run `pip install wandb`"
    ):
        run(tiny_head.config(tmp_path, tracker="wandb"))


def test_sharding_that_accelerate_was_set_up_for_is_refused(tmp_path, monkeypatch):
    fsdp = property(lambda self: DistributedType.FSDP)
    monkeypatch.setattr("accelerate.Accelerator.distributed_type", fsdp)
    with pytest.raises(ConfigError, match="FSDP1 is not supported"):
        run(tiny_head.config(tmp_path))


def test_due_says_so_once_in_each_span():
    due = Due(10.0, 0.0)
    assert [due(s) for s in (5, 10, 15, 20, 45, 46)] == [False, True, False, True, True, False]
    assert not Due(0.0, 0.0)(1e9)
