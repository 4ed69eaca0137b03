"""What each part of a head brings: right tokens a draft and base passes, heads side by side on the same examples.

    python benchmarks/bench_ablation.py --data dev.jsonl.gz --limit 300 --threads 1 --out ablation-dev.jsonl \\
        --heads full=runs/head,no-copy=runs/head-no-copy,no-markov=runs/head-no-markov

The heads are trained alike but for one part each; the first one is what the others are compared with. `no head` is
the drafter parallel+copy. Every system gives the base's own answer, so only costs differ.

The table goes to stderr; the JSON lines, one a head, to --out or stdout.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from bench_calls import frame_of, measure
from calls.cli import json_lines, load_model, new_parser, sampled, split, under, write_lines
from calls.conditions import fingerprint
from calls.report import in_words
from calls.summary import Summary, summarise
from calls.systems import library_system
from rich.console import Console
from rich.table import Table

import smoldiff
from smoldiff.head.model import DiffusionHead

NO_HEAD = "no head"
DRAFTER = "diffusion+copy"
UNTRAINED_DRAFTER = "parallel+copy"
SHOWN = (
    ("right tokens a draft", "accepted_per_draft", ".2f"),
    ("right tokens, first draft", "first_draft_accepted", ".2f"),
    ("base passes", "base_passes", ".2f"),
    ("head passes", "head_passes", ".2f"),
    ("ms a call", "total_mean_ms", ".1f"),
)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--heads", type=named_folders, required=True, help="NAME=FOLDER,...")
    parser.add_argument("--warm-up", type=int, default=2, help="examples answered before the clock")
    args = parser.parse_args(arguments)
    console = Console(stderr=True, width=args.width)
    model = load_model(args, "none")
    heads = {
        name: model.with_head(DiffusionHead.from_pretrained(folder))
        for name, folder in args.heads.items()
    }
    examples = sampled(args.data, args)
    own = options(DRAFTER, args.max_tokens)
    systems = [library_system(model, NO_HEAD, options(UNTRAINED_DRAFTER, args.max_tokens))]
    systems += [library_system(with_head, name, own) for name, with_head in heads.items()]
    records = list(measure(systems, examples, examples[: args.warm_up], frame_of(model), console))
    summaries = {s.name: summarise([r for r in records if r.system == s.name]) for s in systems}
    conditions = under(args, model)
    console.print(table(f"{args.data.name}: ablation", summaries))
    console.print(in_words(conditions), soft_wrap=True)
    rows = (row(name, summary, heads.get(name), conditions) for name, summary in summaries.items())
    write_lines(json_lines(rows), args.out)


def named_folders(text: str) -> dict[str, str]:
    """Folders by name. Raises ValueError."""
    pairs = [pair.partition("=") for pair in split(text)]
    found = {name: folder for name, is_given, folder in pairs if name and is_given and folder}
    if len(found) < len(pairs) or not found or NO_HEAD in found:
        raise ValueError(text)
    return found


def options(drafter: str, max_tokens: int) -> dict[str, Any]:
    return {
        "mode": "verified",
        "drafter": drafter,
        "tool_choice": "required",
        "max_tokens": max_tokens,
    }


def row(
    name: str, summary: Summary, model: smoldiff.Model | None, conditions: Mapping[str, Any]
) -> dict[str, Any]:
    """A head's numbers with what is switched off in it."""
    config = model.head.config.to_json() if model is not None else {}
    return {
        "benchmark": "ablation",
        "name": name,
        "n": summary.n,
        "errors": summary.errors,
        **{field: getattr(summary, field) for _, field, _ in SHOWN},
        "without": sorted(k for k, v in config.items() if v is False),
        **conditions,
        "head": fingerprint(model.head) if model is not None else None,
    }


def table(title: str, summaries: Mapping[str, Summary]) -> Table:
    """A line a head; behind each number, what it adds to the first head's."""
    out = Table(title=title, title_justify="left")
    out.add_column("")
    for label, _, _ in SHOWN:
        out.add_column(label, justify="right")
    first = next(summary for name, summary in summaries.items() if name != NO_HEAD)
    for name, summary in summaries.items():
        out.add_row(name, *(cell(summary, first, field, form) for _, field, form in SHOWN))
    return out


def cell(summary: Summary, first: Summary, field: str, form: str) -> str:
    value, reference = getattr(summary, field), getattr(first, field)
    if value is None:
        return "-"
    is_alone = reference is None or summary is first
    return format(value, form) + ("" if is_alone else f" ({value - reference:+{form}})")


if __name__ == "__main__":
    main()
