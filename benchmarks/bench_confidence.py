"""Whether `call.confidence` is right as often as it says: expected calibration error and reliability, by mode.

    python benchmarks/bench_confidence.py --data test_unseen.jsonl.gz --fit dev.jsonl.gz --limit 300 --threads 1 \\
        --out confidence-test_unseen.jsonl

Every value of every call is one observation (calls/confident.py says when it is right), once among all calls and once
among those of the right tool only: a confidence speaks of a value, not of the tool. `raw` are chances as they are
computed, `stored` those under the calibration that lies with the head, `fitted` under the one that --fit finds on
another file; --store writes that one into the head's folder. calls/calibration.py defines the errors and the bins.

The tables go to stderr; the JSON lines to --out or stdout.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from calls.calibration import KINDS, Bin, Judged, applied, expected_error, fit, reliability
from calls.cli import (
    add_head,
    json_lines,
    load_model,
    new_parser,
    sampled,
    split,
    under,
    write_lines,
)
from calls.confident import JudgedValue, judged_values, uncalibrated
from calls.data import Example
from calls.report import in_words
from rich.console import Console
from rich.progress import track
from rich.table import Table

import smoldiff
from smoldiff.errors import SmoldiffError
from smoldiff.head.calibration import NEUTRAL, Calibration
from smoldiff.head.checkpoint import CONFIG_FILE
from smoldiff.head.config import HeadConfig

MODES = ("verified", "diffusion")
SCOPES = ("all calls", "right tool")


@dataclass(frozen=True, slots=True)
class Measured:
    """Judged values under one calibration."""

    mode: str
    scope: str
    state: str
    calibration: Calibration
    judged: list[Judged]

    def row(self) -> dict[str, Any]:
        bins = {kind: reliability(self.judged, kind) for kind in KINDS}
        return {
            "benchmark": "confidence",
            "mode": self.mode,
            "scope": self.scope,
            "state": self.state,
            **asdict(self.calibration),
            "n": len(self.judged),
            "right_share": fmean(one.is_right for one in self.judged) if self.judged else None,
            "mean_confidence": fmean(one.chance for one in self.judged) if self.judged else None,
            **{named("ece", kind): expected_error(self.judged, kind) for kind in KINDS},
            **{named("bins", kind): list(map(rounded, found)) for kind, found in bins.items()},
        }


def main(arguments: Sequence[str] | None = None) -> None:
    args = parse(arguments)
    console = Console(stderr=True, width=args.width)
    model = load_model(args, args.head)
    modes = args.modes or (MODES if model.head is not None else MODES[:1])
    measured: list[Measured] = []
    for mode in modes:
        fitted = None
        if args.fit:
            known = judge(model, sampled(args.fit, args), mode, args, console)
            fitted = fit([v.judged for v in known], has_offset=args.line == "platt")
        values = judge(model, sampled(args.data, args), mode, args, console)
        measured += under_each(values, mode, states(model, mode, fitted))
    conditions = {**under(args, model), "fit": args.fit and args.fit.name, "steps": args.steps}
    rows = [one.row() for one in measured]
    console.print(errors_table(args.data.name, rows))
    best = {row["mode"]: row for row in rows if row["scope"] == SCOPES[0]}  # the last state of each
    for row in best.values():
        console.print(reliability_table(row))
    console.print(in_words(conditions), soft_wrap=True)
    write_lines(json_lines({**row, **conditions} for row in rows), args.out)
    if args.store:
        store({m.mode: m.calibration for m in measured if m.state == "fitted"}, args.store)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = new_parser(__doc__)
    add_head(parser)
    add = parser.add_argument
    add("--modes", type=split, help="default: verified, and diffusion where there is a head")
    add("--steps", type=int, default=2, help="of mode diffusion")
    add("--fit", type=Path, help="examples to fit a calibration on; --limit holds for them too")
    add("--line", choices=["platt", "temperature"], default="platt", help="what is fitted")
    add("--store", type=Path, help="a head's folder; its calibrations become the fitted ones")
    args = parser.parse_args(arguments)
    unknown = [mode for mode in args.modes or () if mode not in MODES]
    if unknown:
        parser.error(f"--modes: {unknown[0]!r} is not one of {', '.join(MODES)}")
    if args.store and not args.fit:
        parser.error("--store needs --fit: there is no calibration to store")
    return args


def judge(
    model: smoldiff.Model,
    examples: Sequence[Example],
    mode: str,
    args: argparse.Namespace,
    console: Console,
) -> list[JudgedValue]:
    """The values of all calls, with chances as they are computed; an answer that fails has none."""
    options = {"mode": mode, "max_tokens": args.max_tokens}
    if mode == "diffusion":
        options["steps"] = args.steps
    raw = uncalibrated(model)
    found: list[JudgedValue] = []
    for example in track(examples, mode, console=console, transient=True):
        try:
            result = smoldiff.generate_call(
                raw, list(example.tools), list(example.messages), **options
            )
        except SmoldiffError as problem:
            console.print(f"{example.id}: {type(problem).__name__}")
            continue
        found += judged_values(result.calls, example.calls)
    return found


def states(
    model: smoldiff.Model, mode: str, fitted: Calibration | None
) -> Iterator[tuple[str, Calibration]]:
    """The calibrations that are compared."""
    yield "raw", NEUTRAL
    if model.head is not None:
        yield "stored", getattr(model.head.config, f"{mode}_calibration")
    if fitted is not None:
        yield "fitted", fitted


def under_each(
    values: Sequence[JudgedValue], mode: str, calibrations: Iterator[tuple[str, Calibration]]
) -> Iterator[Measured]:
    of_right_tools = [value.judged for value in values if value.is_tool_right]
    groups = ([value.judged for value in values], of_right_tools)
    for state, calibration in calibrations:
        for scope, judged in zip(SCOPES, groups, strict=True):
            yield Measured(mode, scope, state, calibration, applied(calibration, judged))


def named(what: str, kind: str) -> str:
    return f"{what}_{kind.replace('-', '_')}"


def rounded(one: Bin) -> dict[str, float]:
    return {
        "n": one.n,
        "mean_confidence": round(one.mean_chance, 4),
        "right_share": round(one.right_share, 4),
    }


def errors_table(data: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """A line a mode, scope and calibration."""
    out = Table(title=f"{data}: calibration", title_justify="left")
    labels = ("mode", "values of", "chances", "scale", "offset", "n", "right", "mean confidence")
    for label in (*labels, *(f"ECE, {kind}" for kind in KINDS)):
        out.add_column(label, justify="left" if label in labels[:3] else "right")
    for row in rows:
        fields = ("scale", "offset", "n", "right_share", "mean_confidence")
        numbers = [row[f] for f in fields] + [row[named("ece", kind)] for kind in KINDS]
        out.add_row(row["mode"], row["scope"], row["state"], *map(shown, numbers))
    return out


def reliability_table(row: Mapping[str, Any]) -> Table:
    """The equal-mass bins of one line of the other table."""
    title = f"{row['mode']}, {row['scope']}, {row['state']}: equal-mass bins"
    out = Table(title=title, title_justify="left")
    for label in ("values", "mean confidence", "right"):
        out.add_column(label, justify="right")
    for one in row[named("bins", "equal-mass")]:
        out.add_row(*map(shown, one.values()))
    return out


def shown(value: float | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.3f}"


def store(calibrations: Mapping[str, Calibration], folder: Path) -> None:
    """Write calibrations, by mode, into a head's configuration; its weights stay untouched."""
    path = folder / CONFIG_FILE
    config = HeadConfig.from_json(json.loads(path.read_text(encoding="utf-8")))
    changed = {f"{mode}_calibration": found for mode, found in calibrations.items()}
    text = json.dumps(replace(config, **changed).to_json(), indent=2, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
