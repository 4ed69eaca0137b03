"""A figure of bench_calls.py's rows: base passes a call and right tokens a draft, a bar a system. Plain SVG.

python benchmarks/plot_calls.py rows.jsonl calls.svg
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

PANELS = (
    ("base_passes", "base passes after the prefill (fewer is better)"),
    ("accepted_per_draft", "right tokens a draft"),
    ("first_draft_accepted", "right tokens of the first draft"),
)
WIDTH_PX, LABEL_PX, BAR_PX, GAP_PX, TITLE_PX = 720, 190, 18, 8, 28
FOOT_PX = 24


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", type=Path)
    parser.add_argument("figure", type=Path)
    parser.add_argument("--source", default="all")
    args = parser.parse_args(arguments)
    rows = [json.loads(line) for line in args.rows.read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if row["source"] == args.source]
    if not rows:
        parser.error(f"{args.rows.name} has no row with source {args.source!r}")
    args.figure.write_text(figure(rows), encoding="utf-8")


def figure(rows: Sequence[Mapping[str, Any]]) -> str:
    """The SVG of all panels, one below the other, with the conditions underneath."""
    parts: list[str] = []
    y = 0
    for field, title in PANELS:
        shown = [(row["system"], row[field]) for row in rows if row[field] is not None]
        if shown:
            parts += panel(title, shown, y)
            y += TITLE_PX + len(shown) * (BAR_PX + GAP_PX) + GAP_PX
    first = rows[0]
    foot = f"{first['model']}, {first['n']} examples of {first['data']}, commit {first['commit']}"
    parts.append(text(0, y + BAR_PX - 4, foot, 'fill="#666"'))
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH_PX}" height="{y + FOOT_PX}" '
        f'viewBox="0 0 {WIDTH_PX} {y + FOOT_PX}" font-family="sans-serif" font-size="12">'
    )
    return "\n".join([head, '<rect width="100%" height="100%" fill="#fff"/>', *parts, "</svg>\n"])


def panel(title: str, bars: Sequence[tuple[str, float]], top: int) -> list[str]:
    """A title and a horizontal bar a system, all to the same scale."""
    largest = max(value for _, value in bars) or 1.0
    room = WIDTH_PX - LABEL_PX - 60
    parts = [text(0, top + BAR_PX, title, 'font-weight="bold"')]
    for i, (system, value) in enumerate(bars):
        y = top + TITLE_PX + i * (BAR_PX + GAP_PX)
        width = round(room * value / largest, 1)
        parts += [
            text(LABEL_PX - 8, y + BAR_PX - 5, system, 'text-anchor="end"'),
            f'<rect x="{LABEL_PX}" y="{y}" width="{width}" height="{BAR_PX}" fill="#4878a8"/>',
            text(LABEL_PX + width + 6, y + BAR_PX - 5, f"{value:.1f}"),
        ]
    return parts


def text(x: float, y: float, content: str, style: str = "") -> str:
    return f'<text x="{x}" y="{y}" {style}>{escape(content)}</text>'


if __name__ == "__main__":
    main()
