"""What the scripts about calls have in common: options, the model, the examples, where rows go."""

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from calls.conditions import conditions
from calls.data import Example, read_examples, sample

import smoldiff


def new_parser(doc: str) -> argparse.ArgumentParser:
    """A parser with the options of every script."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, help="examples, .jsonl or .jsonl.gz")
    add("--limit", type=int, help="how many examples (default: all)")
    add("--seed", type=int, default=0, help="of the shuffle that --limit takes the first rows of")
    add("--model", default="smoldiff-nano", help="as smoldiff.load takes it")
    add("--device")
    add("--dtype", default="auto")
    add(
        "--threads", type=int, help="CPU threads; one is steadiest on a machine that others use too"
    )
    add("--max-tokens", type=int, default=256)
    add("--out", type=Path, help="where the JSON lines go (default: stdout)")
    add("--width", type=int, help="columns of the table (default: the terminal's)")
    return parser


def add_head(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--head", help="a head's folder or repository, or none; default: the bundled model's own"
    )


def split(names: str) -> list[str]:
    return [name for name in names.split(",") if name]


def counts(numbers: str) -> list[int]:
    """Whole numbers from 1 on. Raises ValueError."""
    found = [int(number) for number in split(numbers)]
    if min(found, default=0) < 1:
        raise ValueError(numbers)
    return found


def load_model(args: argparse.Namespace, head: str | None) -> smoldiff.Model:
    if args.threads:
        torch.set_num_threads(args.threads)
    return smoldiff.load(args.model, device=args.device, dtype=args.dtype, head=head)


def sampled(path: Path, args: argparse.Namespace) -> list[Example]:
    """The examples that are measured."""
    return sample(read_examples(path), args.limit, args.seed)


def under(
    args: argparse.Namespace, model: smoldiff.Model, peers: Iterable[str] = ()
) -> dict[str, Any]:
    """The conditions of a row."""
    return {
        "data": args.data.name,
        "limit": args.limit,
        "seed": args.seed,
        "max_tokens": args.max_tokens,
        **conditions(model, peers),
    }


def json_lines(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Rows as text, numbers rounded to what their noise leaves of them."""
    return [
        json.dumps(
            {k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()},
            ensure_ascii=False,
        )
        for row in rows
    ]


def write_lines(lines: Iterable[str], path: Path | None) -> None:
    text = "".join(line + "\n" for line in lines)
    if path is None:
        sys.stdout.write(text)
    else:
        path.write_text(text, encoding="utf-8")
