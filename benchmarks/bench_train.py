"""How fast a head trains, and how that scales over GPUs: the loop's own step, on a random base of SmolLM3-3B's shape.

    python benchmarks/bench_train.py --gpus 1,2 --batch 16 --steps 20

Weak scaling: each GPU has `--batch` examples. The processes are started here, first for one GPU and then for more, on
the same machine one after the other; the base is frozen and made on the device, the head is a real one, the batches
are random but of the form that training collates. `efficiency` is a GPU's tokens a second against one GPU alone with
the same optimiser and batch. Steps are timed by the device's events, rates by the wall clock between two waits, that of
the slowest process. A training whose loss is not finite, or whose processes end with different heads, is not reported.

The baseline on one GPU is a plain process, without anything to exchange. The table goes to stderr; the JSON lines, one a
setting, to --out or stdout. `--device cpu --shape tiny` tries it all without a GPU.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from scaling.row import Job, Row, Setting
from scaling.shapes import SHAPES

HERE = Path(__file__).parent
SIZES = ("num_layers", "hidden_size", "num_heads", "num_kv_heads", "head_dim", "intermediate_size")


def main(arguments: Sequence[str] | None = None) -> None:
    args = parse(arguments)
    console = Console(stderr=True, width=args.width)
    rows: list[Row] = []
    with args.out.open("w", encoding="utf-8") if args.out else nullcontext(sys.stdout) as out:
        for gpus in sorted(set(args.gpus)):
            with console.status(f"{gpus} x {args.device}"):
                found = with_efficiency(run(args, gpus), rows)
            out.writelines(json.dumps(asdict(row)) + "\n" for row in found)
            out.flush()
            rows += found
    console.print(table(rows))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--gpus", type=numbers, default=[1, 2], help="counts, as 1,2,4")
    add("--batch", type=numbers, default=[16], help="examples a GPU and batch; one or several")
    add("--steps", type=int, default=20, help="that are timed, 2 at least")
    add("--warm-up", type=int, default=5, help="steps before")
    add("--optimizers", type=words("muon", "adamw"), default=["muon", "adamw"])
    add(
        "--reduce",
        type=words("float32", "bfloat16"),
        default=["float32"],
        help="dtype of gradients between GPUs",
    )
    add("--sharding", type=words("ddp", "fsdp2"), default=["ddp"])
    add("--accumulation", type=int, default=1, help="batches a step")
    add("--shape", choices=SHAPES, default="smollm3-3b", help="of the base and the examples")
    for name in SIZES:
        add(f"--{name.replace('_', '-')}", type=int, default=0, help="of the head; 0: by the base")
    add("--compile", action="store_true", help="compile the head's layers")
    add("--device", choices=("cuda", "cpu"), default="cuda")
    add("--out", type=Path, help="where the JSON lines go (default: stdout)")
    add("--width", type=int, help="columns of the table (default: the terminal's)")
    args = parser.parse_args(arguments)
    if args.steps < 2 or args.warm_up < 1:
        parser.error("--steps: 2 or more; --warm-up: 1 or more")
    if args.device == "cuda" and max(args.gpus) > torch.cuda.device_count():
        parser.error(f"--gpus: {torch.cuda.device_count()} are there; or take --device cpu")
    return args


def numbers(text: str) -> list[int]:
    found = [int(one) for one in text.split(",")]
    if min(found) < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected numbers from 1 on")
    return found


def words(*known: str):
    def read(text: str) -> list[str]:
        found = text.split(",")
        if not set(found) <= set(known):
            raise argparse.ArgumentTypeError(f"{text}: expected some of {', '.join(known)}")
        return found

    return read


def settings(args: argparse.Namespace, gpus: int) -> tuple[Setting, ...]:
    """On one GPU nothing is reduced or cut."""
    reduce, sharding = (args.reduce, args.sharding) if gpus > 1 else (["float32"], ["ddp"])
    return tuple(
        Setting(*one, args.accumulation)
        for one in product(args.optimizers, args.batch, reduce, sharding)
    )


def run(args: argparse.Namespace, gpus: int) -> list[Row]:
    """The rows of all settings on so many GPUs. Ends the program where a process fails."""
    with tempfile.TemporaryDirectory() as folder:
        job = Job(
            shape=args.shape,
            steps=args.steps,
            warm_up=args.warm_up,
            out=str(Path(folder) / "rows.jsonl"),
            compile=args.compile,
            head={name: getattr(args, name) for name in SIZES if getattr(args, name)},
            settings=settings(args, gpus),
        )
        path = Path(folder) / "job.json"
        job.write(path)
        done = subprocess.run(command(gpus, path), env=environment(args.device))
        if done.returncode:
            sys.exit(f"training on {gpus} x {args.device} failed; its own errors stand above")
        return [Row(**json.loads(line)) for line in Path(job.out).read_text().splitlines()]


def command(gpus: int, job: Path) -> list[str]:
    """One process as it is; several under torchrun, which ends all when one fails."""
    module = ["-m", "scaling.process", str(job)]
    if gpus == 1:
        return [sys.executable, *module]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    at = ["--nproc-per-node", str(gpus), "--master-addr", "127.0.0.1", "--master-port", str(port)]
    return [sys.executable, "-m", "torch.distributed.run", *at, *module]


def environment(device: str) -> dict[str, str]:
    paths = [str(HERE), os.environ.get("PYTHONPATH", "")]
    known = {"PYTHONPATH": os.pathsep.join(p for p in paths if p), "OMP_NUM_THREADS": "1"}
    on_cpu = {"CUDA_VISIBLE_DEVICES": "", "ACCELERATE_USE_CPU": "true"}
    return {**os.environ, **known, **(on_cpu if device == "cpu" else {})}


def with_efficiency(found: Sequence[Row], before: Sequence[Row]) -> list[Row]:
    """The rows found, each against one GPU alone where that was measured."""
    first = [r for r in (*before, *found) if r.gpus == 1]
    alone = {(r.optimizer, r.batch_per_gpu): r.tokens_per_s for r in first}
    return [
        replace(r, efficiency=r.tokens_per_s / (r.gpus * alone[key]) if key in alone else None)
        for r in found
        for key in [(r.optimizer, r.batch_per_gpu)]
    ]


def table(rows: Sequence[Row]) -> Table:
    first = rows[0]
    title = f"{first.shape}, head of {first.num_head_parameters / 1e6:.0f}M, {first.device}"
    names = ("gpus", "optimiser", "batch", "reduce", "tokens/s", "step ms", "base ms")
    shown = Table(*names, "MB sent", "peak GB", "efficiency", title=title)
    for r in rows:
        sent = (r.reduced_bytes + r.gathered_bytes) / 1e6
        shown.add_row(
            str(r.gpus),
            r.optimizer,
            f"{r.batch_per_gpu}x{r.accumulation}",
            f"{r.reduce_dtype} {r.sharding}" if r.gpus > 1 else "",
            f"{r.tokens_per_s:,.0f}",
            f"{r.step_ms:.1f} ({r.step_p10_ms:.1f}-{r.step_p90_ms:.1f})",
            f"{r.base_ms:.1f}",
            f"{sent:.0f}",
            f"{r.peak_bytes / 1e9:.1f}",
            "" if r.efficiency is None else f"{r.efficiency:.3f}",
        )
    return shown


if __name__ == "__main__":
    main()
