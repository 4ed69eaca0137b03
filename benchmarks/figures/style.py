"""How all figures look, and how they are written: the same bytes for the same rows."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Row = Mapping[str, Any]

RC = {
    "svg.hashsalt": "smoldiff",  # ids are random without it
    "svg.fonttype": "none",  # text stays text: small files
    "font.size": 9,
    # White paper in the figure itself, so that it reads the same on light and dark pages.
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "text.color": "#222222",
    "axes.labelcolor": "#222222",
    "axes.edgecolor": "#888888",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "legend.frameon": False,
}
# Okabe and Ito's palette: told apart by colour-blind readers too.
GREY, BLUE, ORANGE, GREEN = "#8c8c8c", "#0072b2", "#d55e00", "#009e73"
COLOURS = (BLUE, ORANGE, GREEN, "#cc79a7", "#56b4e9", "#e69f00")
INCHES_WIDE = 8.6
FOOT_COLOUR = "#666666"


@contextmanager
def styled() -> Iterator[None]:
    """Draw and write inside of it."""
    with matplotlib.rc_context(RC):
        yield


def new_figure(num_rows: int, num_columns: int, inches_high: float) -> tuple[Figure, Any]:
    """A figure with a grid of axes [num_rows, num_columns]."""
    figure = Figure(figsize=(INCHES_WIDE, inches_high), layout="constrained")
    return figure, figure.subplots(num_rows, num_columns, squeeze=False)


def bars(axes: Axes, labels: Sequence[str], values: Sequence[float], **style: Any) -> None:
    """Horizontal bars from top to bottom."""
    axes.barh(range(len(labels)), values, **style)
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.22)  # room for what stands behind a bar


def write(figure: Figure, rows: Sequence[Row], path: Path) -> None:
    """Write the figure as SVG, the conditions of its rows underneath."""
    figure.supxlabel(foot(rows), fontsize=7, color=FOOT_COLOUR)
    figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def foot(rows: Sequence[Row]) -> str:
    """What the rows were measured under."""
    first = rows[0]
    num = first.get("num_threads")
    threads = f", {num} thread{'s' if num > 1 else ''}" if num else ""
    commits = ", ".join(distinct(row["commit"] for row in rows))
    return f"{first['model']}, {first['device']}{threads}, {first['dtype']}, commit {commits}"


def distinct(values: Iterable[Any]) -> list[Any]:
    """Each value once, in the order of their coming."""
    return list(dict.fromkeys(values))


def data_name(row: Row) -> str:
    """The examples that a row was measured on."""
    return str(row["data"]).removesuffix(".gz").removesuffix(".jsonl")


def by_data(rows: Iterable[Row]) -> dict[str, list[Row]]:
    grouped: dict[str, list[Row]] = {}
    for row in rows:
        grouped.setdefault(data_name(row), []).append(row)
    return grouped
