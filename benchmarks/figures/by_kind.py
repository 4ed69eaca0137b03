"""Right tokens of the first draft by the kind of slot; a row of panels for each file of examples."""

from collections.abc import Sequence

from figures.by_mode import INCHES_A_PANEL, colour, note
from figures.style import Row, by_data, distinct, new_figure
from matplotlib.axes import Axes
from matplotlib.figure import Figure

MIN_VERIFIED = 5
"""Slots of a kind that some drafter needs for the kind to be shown."""
INCHES_A_BAR = 0.2
WHOLE = "whole_pct"
ROOM = 0.8
"""Of the distance between kinds, what their bars take."""


def by_kind(rows: Sequence[Row]) -> Figure | None:
    """rows: of bench_drafts.py. None where no kind is common enough."""
    of_files = {name: kinds_shown(group) for name, group in by_data(rows).items()}
    grouped = {name: kinds for name, kinds in of_files.items() if kinds}
    if not grouped:
        return None
    num_drafters = len(distinct(row["drafter"] for row in rows))
    num_bars = sum(len(kinds) for kinds in grouped.values()) * (num_drafters + 0.5)
    figure, axes = new_figure(
        len(grouped), 2, len(grouped) * INCHES_A_PANEL + num_bars * INCHES_A_BAR + 0.5
    )
    for (name, kinds), (left, right) in zip(grouped.items(), axes, strict=True):
        panel(left, kinds, "right_tokens")
        panel(right, kinds, WHOLE)
        right.set_yticklabels([])
        left.set_title(name, loc="left", fontweight="bold")
        left.set_ylabel(f"kind of slot (from {MIN_VERIFIED} verified)")
        left.set_xlabel("right tokens of a verified slot (mean)")
        right.set_xlabel("verified slots right as a whole (%)")
        right.set_xlim(0, 135)
        right.set_xticks(range(0, 101, 25))
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=len(labels))
    return figure


def kinds_shown(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of each kind that is common enough to say something."""
    kinds: dict[str, list[Row]] = {}
    for row in rows:
        kinds.setdefault(row["kind"], []).append(row)
    return {
        kind: group
        for kind, group in kinds.items()
        if max(row["num_verified"] for row in group) >= MIN_VERIFIED
    }


def panel(axes: Axes, kinds: dict[str, list[Row]], field: str) -> None:
    """A group of bars a kind, in it a bar a drafter with the number of slots behind it."""
    drafters = distinct(row["drafter"] for group in kinds.values() for row in group)
    height = ROOM / max(1, len(drafters))
    for number, drafter in enumerate(drafters):
        found = [
            (place, row)
            for place, group in enumerate(kinds.values())
            for row in group
            if row["drafter"] == drafter and row[field] is not None
        ]
        places = [place + (number + 0.5) * height - ROOM / 2 for place, _ in found]
        values = [row[field] for _, row in found]
        style = {"color": colour(f"verified:{drafter}"), "label": drafter}
        axes.barh(places, values, height=height * 0.92, **style)
        for place, (_, row) in zip(places, found, strict=True):
            shown = f"{row[field]:.0f}%" if field == WHOLE else f"{row[field]:.1f}"
            note(axes, place, row[field], f"{shown} ({row['num_verified']} slots)")
    axes.set_yticks(range(len(kinds)), list(kinds))
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.3)
