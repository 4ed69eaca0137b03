"""Reliability: how often values of a confidence are right, before and after calibration; a panel a mode."""

from collections.abc import Sequence

from figures.style import GREY, ORANGE, Row, by_data, distinct, new_figure
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INCHES_A_ROW = 3.9
SCOPE = "all calls"
RAW = "raw"
LARGEST_DOT = 70


def reliable(rows: Sequence[Row]) -> Figure | None:
    """rows: of bench_confidence.py. None where no value was judged."""
    known = [row for row in rows if row["scope"] == SCOPE and row["n"]]
    if not known:
        return None
    grouped = by_data(known)
    modes = distinct(row["mode"] for row in known)
    figure, axes = new_figure(len(grouped), len(modes), len(grouped) * INCHES_A_ROW + 0.2)
    for (name, group), places in zip(grouped.items(), axes, strict=True):
        for mode, panel in zip(modes, places, strict=True):
            of_mode = {row["state"]: row for row in group if row["mode"] == mode}
            draw(panel, of_mode)
            panel.set_title(f"{name}, {mode}", loc="left", fontweight="bold")
    return figure


def draw(axes: Axes, states: dict[str, Row]) -> None:
    """The diagonal, the chances as they are computed, and the last calibration of them."""
    axes.plot([0, 1], [0, 1], color="#bbbbbb", linestyle="--", linewidth=1)
    last = list(states)[-1:]
    for state, colour in zip(distinct([RAW, *last]), (GREY, ORANGE), strict=False):
        row = states[state]
        found = row["bins_equal_mass"]
        x, y = [b["mean_confidence"] for b in found], [b["right_share"] for b in found]
        most = max(b["n"] for b in found)
        label = (
            f"{state}: ECE {row['ece_equal_mass']:.3f} (equal width {row['ece_equal_width']:.3f})"
        )
        axes.plot(x, y, color=colour, linewidth=1.2, label=label)
        axes.scatter(x, y, [LARGEST_DOT * b["n"] / most for b in found], color=colour, alpha=0.8)
    axes.set_aspect("equal")
    axes.set_xlim(-0.03, 1.03)
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlabel("confidence (mean of a bin; 15 bins of equal mass)")
    axes.set_ylabel(f"right values (share of the bin; {states[RAW]['n']} in all)")
    axes.legend(loc="upper left", fontsize=8)
