"""Two processes train as one does with the same global batch: DDP and FSDP2, Muon and AdamW."""

import json
import os
from pathlib import Path

import pytest
import tiny_head
import torch
import torch.distributed as dist
from processes import in_processes
from safetensors.torch import load_file
from torch import nn

from smoldiff_training.config import ConfigError
from smoldiff_training.head import checkpoint
from smoldiff_training.head.loop import train
from smoldiff_training.head.optim import optimizer_kind
from smoldiff_training.head.processes import mean_over_processes, new_accelerator
from smoldiff_training.optim import sharing
from smoldiff_training.optim.muon import Muon
from smoldiff_training.optim.orthogonal import orthogonal_each

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning"),
]
SHAPES = ((16, 8), (8, 24), (16, 8), (1, 8), (7, 5), (24, 24), (8, 24))


def train_in_processes(num_ranks: int, cfg, **parts) -> None:
    in_processes(num_ranks, lambda rank: train(cfg, tiny_head.builder(**parts)))


@pytest.fixture(scope="module", autouse=True)
def _imported(tmp_path_factory):
    """Train once in this process, so that its children need not import again what a run needs."""
    tiny_head.forget_processes()
    train(tiny_head.config(tmp_path_factory.mktemp("first"), {"max_steps": 1}), tiny_head.builder())
    tiny_head.forget_processes()


def assert_close(out: Path, other: Path) -> None:
    """Losses, gradient norms and the exported weights, but for rounding."""
    for mine, theirs in zip(steps(out), steps(other), strict=True):
        for name in ("step", "loss", "worst", "norm", "num_positions"):
            assert mine[name] == pytest.approx(theirs[name], rel=1e-5), f"step {theirs['step']}"
    exported = load_file(other / "head" / "head.safetensors")
    for name, value in load_file(out / "head" / "head.safetensors").items():
        torch.testing.assert_close(value, exported[name], atol=2e-5, rtol=0)


def steps(out: Path) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [row for row in rows if "loss" in row]


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> dict[str, Path]:
    """A run of one process with each optimiser."""
    outs = {name: tmp_path_factory.mktemp(name) for name in ("muon", "adamw")}
    for name, out in outs.items():
        tiny_head.forget_processes()
        train(tiny_head.config(out, optim(name)), tiny_head.builder())
    tiny_head.forget_processes()
    return outs


def optim(name: str) -> dict[str, object]:
    return {"optimizer": name, "ema_decay": 0.5}


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
@pytest.mark.parametrize("sharding", ["ddp", "fsdp2"])
def test_two_processes_train_as_one(alone, tmp_path, optimizer, sharding):
    train_in_processes(2, tiny_head.config(tmp_path, optim(optimizer), sharding=sharding))
    assert_close(tmp_path, alone[optimizer])


@pytest.mark.parametrize("sharding", ["ddp", "fsdp2"])
def test_accumulation_on_two_processes_is_that_on_one(tmp_path, sharding):
    one = tiny_head.config(tmp_path / "one", optim("muon") | {"accumulation": 3, "max_steps": 10})
    two = tiny_head.config(
        tmp_path / "two", optim("muon") | {"accumulation": 3, "max_steps": 10}, sharding=sharding
    )
    train_in_processes(1, one)
    train_in_processes(2, two)
    assert_close(tmp_path / "two", tmp_path / "one")


def test_a_checkpoint_goes_on_under_another_sharding(alone, tmp_path):
    """Killed at step 13 on two processes that share one copy, finished on two with a copy each."""

    def cut_short(first, rank, num_ranks):
        for number, batch in enumerate(tiny_head.batches(first, rank, num_ranks), first):
            if number == 13:
                os._exit(0)
            yield batch

    sharded = tiny_head.config(tmp_path, optim("muon"), sharding="fsdp2")
    train_in_processes(2, sharded, batches=cut_short)
    assert checkpoint.load_checkpoint(tmp_path).step == 10
    train_in_processes(2, tiny_head.config(tmp_path, optim("muon")))
    assert_close(tmp_path, alone["muon"])


def test_auto_is_muon_on_several_processes_and_adamw_on_one(tmp_path):
    cfg = tiny_head.config(tmp_path).optim
    assert [optimizer_kind(cfg, n) for n in (1, 2, 8)] == ["adamw", "muon", "muon"]


def some_matrices() -> list[nn.Parameter]:
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(s)) for s in SHAPES]


def stepped(params: list[nn.Parameter]) -> list[torch.Tensor]:
    """The matrices after three steps of Muon alone."""
    muon = Muon(params, lr=0.02, weight_decay=0.1)
    for step in range(3):
        generator = torch.Generator().manual_seed(step)
        for p in params:
            p.grad = torch.randn(p.shape, generator=generator)
        muon.step()
    return [p.detach() for p in params]


@pytest.mark.parametrize("num_ranks", [2, 3])
def test_shared_out_muon_is_muon_and_each_matrix_is_worked_on_once(tmp_path, num_ranks):
    expected = stepped(some_matrices())

    def action(rank):
        worked = []
        sharing.orthogonal_each = lambda us: (
            worked.extend(u.shape for u in us) or orthogonal_each(us)
        )
        dist.init_process_group("gloo")
        for mine, theirs in zip(stepped(some_matrices()), expected, strict=True):
            torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=0)
        everywhere = [None] * num_ranks
        dist.all_gather_object(everywhere, worked)
        assert sorted(s for one in everywhere for s in one) == sorted(
            3 * [torch.Size(s) for s in SHAPES]
        )
        assert all(everywhere)

    in_processes(num_ranks, action)


@pytest.mark.parametrize("num_ranks", [2, 3])
def test_muon_on_matrices_cut_by_rows_is_muon(num_ranks):
    """With three processes some hold no row of the matrix with one row, and nobody the same number of each."""
    expected = stepped(some_matrices())

    def action(rank):
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.tensor import Shard, distribute_tensor

        dist.init_process_group("gloo")
        mesh = init_device_mesh("cpu", (num_ranks,))
        params = [
            nn.Parameter(distribute_tensor(p.detach(), mesh, [Shard(0)])) for p in some_matrices()
        ]
        muon = Muon(params, lr=0.02, weight_decay=0.1)
        for step in range(3):
            generator = torch.Generator().manual_seed(step)
            for p in params:
                p.grad = distribute_tensor(
                    torch.randn(p.shape, generator=generator), mesh, [Shard(0)]
                )
            muon.step()
        for p, theirs in zip(params, expected, strict=True):
            torch.testing.assert_close(p.full_tensor().detach(), theirs, atol=1e-5, rtol=0)

    in_processes(num_ranks, action)


def test_a_mean_over_processes_makes_the_loss_of_parts_that_of_the_whole():
    """Each process divides by the mean of what they all find, however little it finds itself."""

    def action(rank):
        assert mean_over_processes(torch.tensor(3.0)) == 3.0
        dist.init_process_group("gloo")
        values, weights = torch.tensor([1.0, 5.0]), torch.tensor([3.0, 1.0])
        loss = values[rank] * weights[rank] / mean_over_processes(weights[rank])
        assert mean_over_processes(loss) == (values * weights).sum() / weights.sum()

    in_processes(2, action)


def test_gradients_in_bfloat16_are_refused_where_no_gpu_sends_them(tmp_path):
    def action(rank):
        with pytest.raises(ConfigError, match="reduce_dtype: bfloat16 needs GPUs"):
            new_accelerator(tiny_head.config(tmp_path, reduce_dtype="bfloat16"))

    in_processes(2, action)
