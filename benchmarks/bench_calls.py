"""Whole calls: how right, how fast, and how many tokens a draft gets right. All systems in one run, side by side.

    python benchmarks/bench_calls.py --data dev.jsonl.gz --limit 300 --drafters scaffold,parallel+copy,diffusion+copy \\
        --steps 1,2,4 --skip-forced --peers xgrammar,llguidance --by-source --threads 1 --out rows.jsonl

The baseline is `ar`: one base pass a token under the same grammar. What a head adds is measured against
`verified:parallel+copy`, the best drafter without one. Systems with a head: the drafter diffusion+copy, and mode
"diffusion", one system a number of --steps, and one a number of --denoise steps in a single step. Systems take turns
example by example, in an order that rotates, after a warm-up on other examples. Tools are compiled before the clock starts, and that time is its own
line. --limit takes the first rows of a shuffle by --seed, so that they stand for the whole file.

The table goes to stderr; the JSON lines, one a system (and source), to --out or stdout.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from calls.answers import Answer
from calls.cli import add_head, counts, load_model, new_parser, split, under, write_lines
from calls.data import Example, read_examples, sample
from calls.parse import Frame
from calls.report import in_words, json_line, missing_peers_note, table
from calls.rounding import largest_gap_shift
from calls.score import Score, score
from calls.summary import ALL, Record, groups, summarise
from calls.systems import AR, UNTRAINED, WITH_HEAD, System, Wanted, library_systems, run
from peers import HOMES, load_peer
from rich.console import Console
from rich.progress import track

import smoldiff


def main(arguments: Sequence[str] | None = None) -> None:
    args = parse(arguments)
    console = Console(stderr=True, width=args.width)
    examples = sample(read_examples(args.data), None, args.seed)
    measured = examples if args.limit is None else examples[: args.limit]
    # Examples that are not measured warm up best; without any, the last one measured is the coldest.
    warm_up = (examples[len(measured) :] or examples[::-1])[: args.warm_up]
    model = load_model(args, args.head)
    try:
        systems, missing = make_systems(model, args)
    except ValueError as problem:
        sys.exit(f"{problem}: pass --head, or leave these modes and drafters out")
    records = list(measure(systems, measured, warm_up, frame_of(model), console))
    conditions = under(args, model, [p for p in args.peers if p not in missing])
    if args.rounding:
        conditions["largest_gap_shift"] = rounding(model, records)
    lines = report(records, [s.name for s in systems], conditions, args.by_source, console)
    console.print(in_words(conditions), missing_peers_note(missing), sep="\n", soft_wrap=True)
    write_lines(lines, args.out)
    if args.answers:
        write_lines(map(answer_line, records), args.answers)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = new_parser(__doc__)
    add_head(parser)
    add = parser.add_argument
    add("--modes", type=split, help="default: ar, verified, and diffusion where there is a head")
    add("--drafters", type=split, help="of mode verified; default: parallel+copy, diffusion+copy")
    add("--steps", type=counts, default=[1, 2, 4], help="of mode diffusion, a system each")
    add("--denoise", type=counts, default=[], help="denoise steps of one step, a system each")
    add("--peers", type=split, default=[], help="any of " + ", ".join(HOMES))
    add("--skip-forced", action="store_true", help="also ar without the tokens the grammar forces")
    add("--by-source", action="store_true", help="also a table and rows for each source")
    add("--rounding", action="store_true", help="also how far a pass's width moves ar's logits")
    add("--warm-up", type=int, default=2, help="examples answered before the clock counts")
    add("--answers", type=Path, help="also write every single answer there, as JSON lines")
    args = parser.parse_args(arguments)
    unknown = [peer for peer in args.peers if peer not in HOMES]
    if unknown:
        parser.error(f"--peers: {unknown[0]!r} is not one of {', '.join(HOMES)}")
    return args


def make_systems(model: smoldiff.Model, args: argparse.Namespace) -> tuple[list[System], list[str]]:
    """The library's systems and the peers, with the names of the peers that are not installed. Raises ValueError."""
    systems = library_systems(model, wanted(model, args))
    missing = []
    for name in args.peers:
        try:
            systems.append(load_peer(name, model, args.max_tokens))
        except ModuleNotFoundError as problem:
            if problem.name != name:
                raise
            missing.append(name)
    return systems, missing


def wanted(model: smoldiff.Model, args: argparse.Namespace) -> Wanted:
    """The library's systems that were asked for; by default all that the model can run."""
    has_head = model.head is not None
    return Wanted(
        modes=args.modes or ["ar", "verified", *([WITH_HEAD] if has_head else [])],
        drafters=args.drafters or ["parallel+copy", *(["diffusion+copy"] if has_head else [])],
        steps=args.steps,
        denoise=args.denoise,
        has_skip_forced=args.skip_forced,
        max_tokens=args.max_tokens,
    )


def frame_of(model: smoldiff.Model) -> Frame:
    style = model.call_style
    return Frame(style.begin.strip(), style.end.strip(), style.name_key, style.arguments_key)


def measure(
    systems: Sequence[System],
    examples: Sequence[Example],
    warm_up: Sequence[Example],
    frame: Frame,
    console: Console,
) -> Iterator[Record]:
    """Every system on every example, the first system moving by one each time."""
    for example in warm_up:
        for system in systems:
            run(system, example)
    for i, example in enumerate(track(examples, "calls", console=console, transient=True)):
        first = i % len(systems)
        turns = [*systems[first:], *systems[:first]]
        answers: dict[str, Answer] = {system.name: run(system, example) for system in turns}
        scores = {name: scored(answer, example, frame) for name, answer in answers.items()}
        for name in (system.name for system in systems):
            yield Record(
                name,
                example,
                answers[name],
                scores[name],
                answers.get(AR),
                scores.get(AR),
                answers.get(UNTRAINED),
            )


def scored(answer: Answer, example: Example, frame: Frame) -> Score:
    return score(answer.text if answer.error is None else None, example, frame)


def rounding(model: smoldiff.Model, records: Sequence[Record]) -> float | None:
    """The largest shift of a gap between two logits over all answers of `ar`."""
    answered = [r for r in records if r.system == AR and r.answer.token_ids]
    shifts = [largest_gap_shift(model, r.example, r.answer.token_ids or ()) for r in answered]
    return max(shifts, default=None)


def report(
    records: Sequence[Record],
    systems: Sequence[str],
    under: dict[str, object],
    has_sources: bool,
    console: Console,
) -> list[str]:
    """Print the tables; return the JSON lines."""
    lines = []
    for source, group in {ALL: records, **(groups(records) if has_sources else {})}.items():
        summaries = {s: summarise([r for r in group if r.system == s]) for s in systems}
        console.print(table(f"{under['data']}: {source}", summaries))
        lines += [json_line(s, source, summary, under) for s, summary in summaries.items()]
    return lines


def answer_line(record: Record) -> str:
    answer, verdict = record.answer, record.score
    row = {
        "id": record.example.id,
        "system": record.system,
        "text": answer.text,
        "error": answer.error,
        "is_exact": verdict.is_exact,
        "is_accepted": verdict.is_accepted,
        "base_passes": answer.cost and answer.cost.base_passes,
        "head_passes": answer.cost and answer.cost.head_passes,
        "first_draft_accepted": answer.cost and answer.cost.first_draft_accepted,
        "answer_tokens": answer.cost and answer.cost.answer_tokens,
        "total_ms": answer.cost and round(answer.cost.total_ms, 3),
    }
    return json.dumps(row, ensure_ascii=False)


if __name__ == "__main__":
    main()
