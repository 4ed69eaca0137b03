"""Times of an op in words: a line for each case, and under it its peers, what it has to reach, and whether it does."""

from collections.abc import Iterator, Mapping, Sequence
from textwrap import wrap
from typing import Any

from kernel_timing.case import OURS

MARKS = {True: "yes", False: "NO", None: "unknown"}
Row = Mapping[str, Any]


def lines(op: str, rows: Sequence[Row], width: int) -> Iterator[str]:
    """Times in microseconds. A target ">= 2x peer" is reached in half of the peer's time, "<= 2x peer" in twice of it."""
    yield f"{op:<50} {'us':>8} {'x floor':>8} {'host us':>8} {'MiB':>6}"
    for shape in dict.fromkeys(row["shape"] for row in rows):
        own = {row["impl"]: row for row in rows if row["shape"] == shape}
        ours = own.pop(OURS)
        if ours["us"] is None:
            yield from wrap(f"{shape:<50} {ours['problem']}", width)
            continue
        cells = (f"{_number(ours[n]):>8}" for n in ("us", "over_floor", "host_us"))
        yield f"{shape:<50} {' '.join(cells)} {_number(ours['extra_mib']):>6}"
        peers = [f"{name} {_number(row['us'])}" for name, row in own.items()]
        found = [
            f"{t['target']}: {_number(t['value'])} {MARKS[t['is_met']]}" for t in ours["targets"]
        ]
        parts = [f"peers {' | '.join(peers)}"] * bool(peers)
        parts += [f"target {' | '.join(found)}"] * bool(found)
        for part in parts:
            yield from wrap(part, width, initial_indent="    ", subsequent_indent="      ")


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
