"""Figures of the rows that bench_calls.py, bench_drafts.py and bench_confidence.py write, as SVG beside the rows.

    python benchmarks/plot_calls.py benchmarks/results/*.jsonl

Give the files of all data sets at once: a figure shows them together. What is drawn follows from the rows:

by_mode.svg      base passes and milliseconds a call, by system
by_steps.svg     exact calls against the steps of mode "diffusion"
by_kind.svg      right tokens of the first draft by the kind of slot
reliable.svg     how often values of a confidence are right
"""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from figures.by_kind import by_kind
from figures.by_mode import by_mode
from figures.by_steps import by_steps
from figures.reliable import reliable
from figures.style import Row, styled, write
from matplotlib.figure import Figure

FIGURES: dict[str, tuple[str, Callable[[Sequence[Row]], Figure | None]]] = {
    "by_mode.svg": ("calls", by_mode),
    "by_steps.svg": ("calls", by_steps),
    "by_kind.svg": ("drafts", by_kind),
    "reliable.svg": ("confidence", reliable),
}
ALL = "all"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", type=Path, nargs="+", help="JSON lines")
    parser.add_argument("--out", type=Path, help="a folder (default: that of the first file)")
    args = parser.parse_args(arguments)
    rows = [row for path in args.rows for row in read_rows(path)]
    known = {benchmark for benchmark, _ in FIGURES.values()}
    if not any(row.get("benchmark") in known for row in rows):
        parser.error(f"no row of the benchmarks {', '.join(sorted(known))} in these files")
    for path in draw(rows, args.out or args.rows[0].parent):
        print(path.name)


def read_rows(path: Path) -> list[Row]:
    """A file's rows; of those by source, the ones of all sources together."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if row.get("source", ALL) == ALL]


def draw(rows: Sequence[Row], folder: Path) -> list[Path]:
    """Write every figure that has rows; returns their files."""
    written = []
    for name, (benchmark, figure_of) in FIGURES.items():
        own = [row for row in rows if row.get("benchmark") == benchmark]
        with styled():
            figure = figure_of(own) if own else None
            if figure is not None:
                write(figure, own, folder / name)
                written.append(folder / name)
    return written


if __name__ == "__main__":
    main()
