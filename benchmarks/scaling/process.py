"""One process of a training, timed: `python -m scaling.process JOB.json`, or the same under torchrun.

The first process writes a JSON line for each setting to the job's `out`.
"""

import gc
import json
import math
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import cycle, islice
from pathlib import Path
from random import Random
from typing import Any

import torch
import torch.distributed as dist
from scaling.made import batch, new_head, random_base
from scaling.row import Job, Row, Setting
from scaling.shapes import SHAPES
from scaling.timing import Stopwatch, percentiles, whole_max, whole_sum
from torch import Tensor

from smoldiff_training.config import from_mapping
from smoldiff_training.head.config import HeadTrainConfig
from smoldiff_training.head.learner import Batch, Learner, Parts
from smoldiff_training.head.loss import HeadLoss
from smoldiff_training.head.processes import new_accelerator
from smoldiff_training.head.tracking import peak_bytes
from smoldiff_training.optim.muon import Muon

NUM_BATCHES = 4
"""Different ones, taken in turns."""
BASE_REPEATS = 5


def main(path: Path) -> None:
    job = Job.read(path)
    torch.set_num_threads(1)
    network = None
    for setting in job.settings:
        cfg = configuration(job, setting)
        accelerator = new_accelerator(cfg)
        if network is None:
            network = random_base(SHAPES[job.shape], accelerator.device)
        row = measured(job, setting, cfg, accelerator, network)
        if accelerator.is_main_process:
            with Path(job.out).open("a", encoding="utf-8") as out:
                out.write(json.dumps(asdict(row)) + "\n")
        accelerator.free_memory()
        gc.collect()
    if dist.is_initialized():
        dist.destroy_process_group()


def configuration(job: Job, setting: Setting) -> HeadTrainConfig:
    """A training's configuration; its data is never read."""
    optim = {
        "optimizer": setting.optimizer,
        "accumulation": setting.accumulation,
        "max_steps": job.warm_up + job.steps,
    }
    raw = {
        "kind": "head",
        "base": "random",
        "out": str(Path(job.out).parent),
        "data": {"sources": [{"format": "smoldiff", "path": "random"}], "dev": "random"},
        "optim": optim,
        "sharding": setting.sharding,
        "reduce_dtype": setting.reduce_dtype,
        "compile": job.compile,
        "tracker": "none",
    }
    cfg: HeadTrainConfig = from_mapping(HeadTrainConfig, raw)
    cfg.check()
    return cfg


def measured(
    job: Job, setting: Setting, cfg: HeadTrainConfig, accelerator: Any, network: Any
) -> Row:
    """Train a new head and time it. Raises RuntimeError where the training is not right."""
    device = accelerator.device
    head = new_head(SHAPES[job.shape], network, dict(job.head))
    learner = Learner(cfg, parts(head, network, cfg), accelerator, None)
    before = checksum(learner.weights())
    batches = own_batches(job, setting, accelerator)
    base_ms = base_only_ms(network, batches[0], device)
    numbers, norm, timed = trained(job, learner, batches)
    loss = accelerator.reduce(numbers["loss"].float(), "mean").item()
    check(loss, norm.item(), before, checksum(learner.weights()))
    step_s = whole_max(timed.wall_s, device) / job.steps
    tokens, positions = whole_sum(counts(batches), device) * setting.accumulation
    low, middle, high = percentiles(timed.steps_ms())
    reduced, gathered = sent_bytes(learner, setting)
    return replace(
        Row.of(job, setting, accelerator),
        tokens_per_s=float(tokens) / step_s,
        positions_per_s=float(positions) / step_s,
        step_ms=middle,
        step_p10_ms=low,
        step_p90_ms=high,
        wall_ms=1e3 * step_s,
        base_ms=base_ms,
        peak_bytes=int(whole_max(peak_bytes(device), device)),
        num_head_parameters=sum(p.numel() for p in head.parameters()),
        num_base_parameters=network.num_parameters(),
        reduced_bytes=reduced,
        gathered_bytes=gathered,
        loss=loss,
    )


def parts(head: Any, network: Any, cfg: HeadTrainConfig) -> Parts:
    """Batches are made before the clock starts, so the loop's own source of them is not asked."""
    return Parts(head, HeadLoss(head, network, cfg.loss), lambda *place: iter(()))


def own_batches(job: Job, setting: Setting, accelerator: Any) -> list[Batch]:
    """This process's part of a few steps, in pinned memory as a loader leaves it."""
    made = [
        batch(
            SHAPES[job.shape],
            setting.batch_per_gpu,
            Random(f"{number}/{accelerator.process_index}"),
        )
        for number in range(NUM_BATCHES)
    ]
    if accelerator.device.type != "cuda":
        return made
    return [{name: value.pin_memory() for name, value in one.items()} for one in made]


def counts(batches: Sequence[Batch]) -> Tensor:
    """Tokens that a batch feeds to the base and queries that it puts to the head, on average."""
    each = [
        torch.stack([one["lengths_B"].sum(), (one["block_BQ"] > 0).sum()]).double()
        for one in batches
    ]
    return torch.stack(each).mean(0)


def trained(
    job: Job, learner: Learner, batches: Sequence[Batch]
) -> tuple[dict[str, Tensor], Tensor, Stopwatch]:
    """The numbers and the gradient's norm of the last step, and the times of those behind the warm-up."""
    device, feed = learner.accelerator.device, cycle(batches)

    def update(number: int) -> tuple[dict[str, Tensor], Tensor]:
        return learner.update(list(islice(feed, learner.cfg.optim.accumulation)), number, 1.0)

    for number in range(job.warm_up):
        update(number)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    timed = Stopwatch(device)
    for number in range(job.warm_up, job.warm_up + job.steps):
        numbers, norm = update(number)
        timed.mark()
    timed.stop()
    return numbers, norm, timed


def base_only_ms(network: Any, one: Batch, device: torch.device) -> float:
    """Median of the frozen base's own forward pass: what a step cannot do without."""
    ids_BN = one["ids_BN"].to(device)
    with torch.no_grad():
        network(input_ids=ids_BN, use_cache=False, logits_to_keep=1)
        timed = Stopwatch(device)
        for _ in range(BASE_REPEATS):
            network(input_ids=ids_BN, use_cache=False, logits_to_keep=1)
            timed.mark()
        timed.stop()
    return statistics.median(timed.steps_ms())


def sent_bytes(learner: Learner, setting: Setting) -> tuple[int, int]:
    """Bytes that each process sends in a step of DDP: gradients, as a ring sums them, and Muon's shared results."""
    num_ranks = learner.accelerator.num_processes
    share = (num_ranks - 1) / num_ranks
    bytes_each = 2 if setting.reduce_dtype == "bfloat16" else 4
    num_gradients = sum(p.numel() for p in learner.head.parameters())
    muons = [o for o in learner.optimizers.optimizers if isinstance(o, Muon)]
    num_shared = sum(p.numel() for m in muons for g in m.param_groups for p in g["params"])
    shared_bytes_each = 2 if learner.accelerator.device.type == "cuda" else 4
    return round(2 * share * num_gradients * bytes_each), round(
        share * num_shared * shared_bytes_each
    )


def checksum(weights: dict[str, Tensor]) -> float:
    return float(sum(w.double().abs().sum().cpu() for w in weights.values()))


def check(loss: float, norm: float, before: float, after: float) -> None:
    """Raise RuntimeError where numbers are not finite, nothing moved, or the processes hold different weights."""
    if not (math.isfinite(loss) and math.isfinite(norm)):
        raise RuntimeError(f"the loss is {loss} and the gradient's norm {norm}: nothing to time")
    if after == before:
        raise RuntimeError("the head did not move: nothing to time")
    if dist.is_initialized():
        everywhere: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(everywhere, after)
        if len(set(everywhere)) > 1:
            raise RuntimeError(f"the processes hold different heads: checksums {everywhere}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
