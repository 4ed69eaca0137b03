"""Right tokens of the first draft by the kind of slot, for drafters with and without a head.

    python benchmarks/bench_drafts.py --data dev.jsonl.gz --limit 300 --drafters parallel+copy,diffusion+copy \\
        --threads 1 --out drafts-dev.jsonl

A slot is verified where everything before it in the draft was right; only of such a slot does the base say how far it
is right. So a drafter that is right for longer is asked about more slots, and about harder ones.

The table goes to stderr; the JSON lines, one a drafter and kind, to --out or stdout.
"""

from collections.abc import Mapping, Sequence
from typing import Any

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
from calls.data import Example
from calls.drafts import DraftedSlot, by_kind, first_draft_slots
from calls.report import in_words
from rich.console import Console
from rich.progress import track
from rich.table import Table

import smoldiff
from smoldiff.errors import SmoldiffError

COLUMNS = (
    ("slots", "num_drafted", "d"),
    ("verified", "num_verified", "d"),
    ("tokens", "tokens", ".1f"),
    ("right", "right_tokens", ".1f"),
    ("whole %", "whole_pct", ".0f"),
)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = new_parser(__doc__)
    add_head(parser)
    parser.add_argument("--drafters", type=split, help="default: parallel+copy, diffusion+copy")
    args = parser.parse_args(arguments)
    console = Console(stderr=True, width=args.width)
    model = load_model(args, args.head)
    examples = sampled(args.data, args)
    has_head = model.head is not None
    drafters = args.drafters or ["parallel+copy", *(["diffusion+copy"] if has_head else [])]
    found = {d: by_kind(slots(model, examples, d, args.max_tokens, console)) for d in drafters}
    conditions = under(args, model)
    console.print(table(f"{args.data.name}: first drafts", found))
    console.print(in_words(conditions), soft_wrap=True)
    rows = (
        {"benchmark": "drafts", "drafter": drafter, "kind": kind, **numbers, **conditions}
        for drafter, kinds in found.items()
        for kind, numbers in kinds.items()
    )
    write_lines(json_lines(rows), args.out)


def slots(
    model: smoldiff.Model,
    examples: Sequence[Example],
    drafter: str,
    max_tokens: int,
    console: Console,
) -> list[DraftedSlot]:
    """The slots of all first drafts. An answer that ends in an error has its first draft all the same."""
    options = {"mode": "verified", "drafter": drafter, "max_tokens": max_tokens}
    found: list[DraftedSlot] = []
    for example in track(examples, drafter, console=console, transient=True):
        try:
            found += first_draft_slots(model, example, options)
        except SmoldiffError as problem:  # refused before anything was drafted
            console.print(f"{example.id}: {problem}")
    return found


def table(title: str, found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Table:
    """A line a kind, a group of columns a drafter."""
    out = Table(title=title, title_justify="left")
    out.add_column("kind")
    for drafter in found:
        for label, _, _ in COLUMNS:
            out.add_column(drafter.replace("+", "\n+") + f"\n{label}", justify="right")
    for kind in dict.fromkeys(kind for kinds in found.values() for kind in kinds):
        cells = [
            shown(kinds.get(kind, {}).get(field), form)
            for kinds in found.values()
            for _, field, form in COLUMNS
        ]
        out.add_row(kind, *cells)
    return out


def shown(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


if __name__ == "__main__":
    main()
