"""Times of an op as a table: cases from top to bottom, what each is held against, and whether that is reached."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from kernel_timing.case import OURS

MARKS = {True: "yes", False: "no", None: "-"}


def table(op: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    out = Table(
        "shape", "us", "host us", "x floor", "MiB", "others, us", "target: reached", title=op
    )
    for row in rows:
        if row["impl"] != OURS:
            continue
        same = [r for r in rows if r["shape"] == row["shape"] and r["impl"] != OURS]
        others = "\n".join(f"{r['impl']} {_number(r['us'])}" for r in same)
        targets = "\n".join(
            f"{t['target']}: {_number(t['value'])} {MARKS[t['is_met']]}" for t in row["targets"]
        )
        cells = (_number(row["us"]), _number(row["host_us"]), f"{row['over_floor']:.2f}")
        out.add_row(row["shape"], *cells, _number(row["extra_mib"]), others, targets)
    return out


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
