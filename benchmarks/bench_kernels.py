"""The kernels against their floors and against other implementations, each in the same run.

    python benchmarks/bench_kernels.py --out kernels.jsonl
    python benchmarks/bench_kernels.py --sweep head_attention --out sweep.jsonl
    python benchmarks/bench_kernels.py --draw benchmarks/results/kernels.jsonl --roofline benchmarks/results/roofline.svg

An op whose tests are red is not timed: its file in tests/kernels runs first. A floor is the larger of the operations over the
rate of a large bfloat16 matrix product and the bytes over that of a large copy, both measured at the start, the product as the
device sustains it under the limit of its power (its rate in a burst stands beside it in each row). Short calls are
timed in a CUDA graph, on inputs that take turns so that they are not read from the L2 cache; longer ones in a stream that the
host is ahead of. Liger, cut-cross-entropy and xformers are timed where they are installed
(`pip install 'smoldiff[kernel-peers]'`), flash-attn too. One JSON line for each implementation of each case; --draw draws the roofline of such
lines, for which no GPU is needed.

--sweep times other tiles in the place of those in an op's table, next to it first, and prints the fastest; they are compiled
side by side before. What does not fit the device is a line with the reason.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from calls.conditions import commit, device_name, installed
from kernel_timing import attention, loss, report, scoring, slots
from kernel_timing.case import OURS, Case, measure, rows
from kernel_timing.clock import Ceilings, measure_ceilings
from kernel_timing.sweep import Asked, best, times
from kernel_timing.warm import fill_caches
from rich.console import Console

TESTS = Path(__file__).parent.parent / "tests" / "kernels"
OPS: dict[str, Callable[[bool], list[Case]]] = {
    slots.CLASSES: slots.class_cases,
    slots.DECODING: slots.decoding_cases,
    scoring.OP: scoring.cases,
    attention.OP: attention.cases,
    loss.OP: loss.cases,
}
SWEPT = (slots.CLASSES, slots.DECODING, "slot_walk", scoring.OP, attention.OP)
PEERS = ("triton", "liger_kernel", "cut_cross_entropy", "flash_attn", "xformers")


def main(arguments: Sequence[str] | None = None) -> int:
    args = parse(arguments)
    console = Console(stderr=True, width=args.width)
    if args.draw:
        from figures.roofline import draw_roofline

        draw_roofline(
            [json.loads(line) for line in args.draw.read_text().splitlines()], args.roofline
        )
        return 0
    torch.manual_seed(args.seed)
    ceilings = measure_ceilings(args.device)
    under = conditions(args.device, ceilings)
    red = [] if args.small else red_ops(args, console)
    failed = set(red)
    with args.out.open("w") if args.out else nullcontext(sys.stdout) as out:
        for op in args.sweep or args.ops:
            if op in red:
                continue
            found = []
            for line in swept(op, args) if args.sweep else timed(op, args, ceilings):
                print(json.dumps({**line, **under}), file=out, flush=True)
                found.append(line)
                if line["us"] is None and line.get("impl") == OURS:
                    failed.add(op)
            for text in best(found) if args.sweep else report.lines(op, found, args.width):
                console.print(text, markup=False, highlight=False, soft_wrap=True)
    if red:
        console.print(f"not timed, because their tests are red: {', '.join(red)}", style="red")
    return 1 if failed else 0


def timed(op: str, args: argparse.Namespace, ceilings: Ceilings) -> Iterator[dict[str, Any]]:
    for case in cases(op, args):
        yield from rows(measure(case, args.device), ceilings)


def cases(op: str, args: argparse.Namespace) -> list[Case]:
    return [case for case in OPS[op](args.small) if args.shapes in case.shape]


def swept(op: str, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    from kernel_timing.candidates import SWEEPS

    asked = Asked(args.shapes, args.small, args.device, args.candidates)
    return times(SWEEPS[op], asked, args.workers)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "--ops", type=lambda names: names.split(","), default=list(OPS), help=f"of {', '.join(OPS)}"
    )
    default = "cuda" if torch.cuda.is_available() else "cpu"
    add("--device", type=torch.device, default=torch.device(default))
    add(
        "--small", action="store_true", help="tiny shapes without the tests; for trying it on a CPU"
    )
    add("--seed", type=int, default=0)
    add("--out", type=Path, help="JSON lines; without it to stdout")
    add("--sweep", type=lambda names: names.split(","), help=f"of {', '.join(SWEPT)}")
    add("--shapes", default="", help="only those in whose name this stands, such as 'B 1,'")
    add("--candidates", type=int, default=12, help="tiles that --sweep tries at a shape")
    add("--workers", type=int, default=12, help="processes that compile side by side on a GPU")
    add("--draw", type=Path, help="JSON lines to draw; nothing is timed")
    add("--roofline", type=Path, help="where --draw writes its SVG")
    add("--width", type=int, default=100, help="columns of what is printed")
    args = parser.parse_args(arguments)
    unknown = [op for op in args.ops if op not in OPS]
    if unknown:
        parser.error(f"--ops: {unknown[0]!r} is not one of {', '.join(OPS)}")
    if bool(args.draw) != bool(args.roofline):
        parser.error("--draw and --roofline belong together: the lines, and where the figure goes")
    unknown = [op for op in args.sweep or () if op not in SWEPT]
    if unknown:
        parser.error(f"--sweep: {unknown[0]!r} is not one of {', '.join(SWEPT)}")
    if args.device.type == "cpu" and args.sweep and os.environ.get("TRITON_INTERPRET") != "1":
        parser.error("--sweep on a CPU needs Triton's interpreter: set TRITON_INTERPRET=1")
    if args.device.type == "cpu":
        args.workers = 0  # nothing is compiled
    if args.device.type == "cpu" and not args.small and not args.draw:
        parser.error("times on a CPU say nothing of a kernel: add --small to try the command there")
    return args


def red_ops(args: argparse.Namespace, console: Console) -> list[str]:
    """The ops with a test that is red here, those that need a GPU among them.

    They run side by side before any timing, and next to them what will be timed is compiled.
    """
    begun = time.perf_counter()
    running = {op: _tests(op) for op in args.sweep or args.ops}
    if not args.sweep:
        fill_caches([one for op in args.ops for one in cases(op, args)], args.workers, args.device)
        console.print(f"compiled, {time.perf_counter() - begun:.0f} s after the start")
    found = []
    for op, process in running.items():
        output, _ = process.communicate()
        console.print(f"{op}: tests over, {time.perf_counter() - begun:.0f} s after the start")
        if process.returncode:
            console.print(f"{op}: its tests are red\n{output[-2000:]}", markup=False)
            found.append(op)
    return found


def _tests(op: str) -> subprocess.Popen[str]:
    options = ["-q", "-x", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *options, str(TESTS / f"test_{op}.py")]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=TESTS.parent.parent,
    )


def conditions(device: torch.device, ceilings: Ceilings) -> dict[str, Any]:
    return {
        "model": "kernels",
        "device": device_name(device),
        "dtype": "bfloat16" if device.type == "cuda" else "float32",
        "ceiling_tflops": float(f"{ceilings.flops / 1e12:.4g}"),
        "burst_tflops": float(f"{ceilings.burst_flops / 1e12:.4g}"),
        "ceiling_tb_s": float(f"{ceilings.bytes / 1e12:.4g}"),
        "torch_version": torch.__version__,
        **{f"{name}_version": installed(name.replace("_", "-")) for name in PEERS},
        "commit": commit(),
    }


if __name__ == "__main__":
    sys.exit(main())
