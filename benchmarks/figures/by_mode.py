"""Base passes and milliseconds a call, a bar a system; a row of panels for each file of examples."""

from collections.abc import Sequence

from figures.style import BLUE, GREEN, GREY, ORANGE, Row, bars, by_data, new_figure
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INCHES_A_BAR = 0.26
INCHES_A_PANEL = 0.85


def by_mode(rows: Sequence[Row]) -> Figure:
    """rows: of bench_calls.py, all of them measured in one run for each file."""
    grouped = by_data(rows)
    most = max(len(group) for group in grouped.values())
    inches = len(grouped) * (INCHES_A_PANEL + INCHES_A_BAR * most) + 0.3
    figure, axes = new_figure(len(grouped), 2, inches)
    for (name, group), (left, right) in zip(grouped.items(), axes, strict=True):
        shown = [row for row in group if row["base_passes"] is not None]
        labels = [label(row["system"]) for row in shown]
        colours = [colour(row["system"]) for row in shown]
        bars(left, labels, [row["base_passes"] for row in shown], color=colours)
        bars(right, labels, [row["total_mean_ms"] for row in shown], color=colours)
        right.set_yticklabels([])
        for place, row in enumerate(shown):
            note(left, place, row["base_passes"], passes_text(row))
            note(right, place, row["total_mean_ms"], time_text(row))
        left.set_title(f"{name}, {group[0]['n']} examples", loc="left", fontweight="bold")
        left.set_xlabel("base passes a call after the prefill (mean)")
        right.set_xlabel("milliseconds a call, prefill included (mean)")
    return figure


def note(axes: Axes, place: int, value: float, text: str) -> None:
    axes.annotate(text, (value, place), (3, 0), textcoords="offset points", va="center", fontsize=8)


def passes_text(row: Row) -> str:
    head = row["head_passes"]
    return f"{row['base_passes']:.1f}" + (f" + {head:.1f} of the head" if head else "")


def time_text(row: Row) -> str:
    """The time, and how many times as fast as plain AR that is."""
    speed = row["speed_vs_ar"]
    is_compared = speed is not None and row["system"] != "ar"
    return f"{row['total_mean_ms']:.0f}" + (f" ({speed:.1f}x)" if is_compared else "")


def label(system: str) -> str:
    """A system's name for readers."""
    mode, _, rest = system.partition(":")
    if mode == "verified":
        return f"verified, {rest}"
    if mode == "diffusion":
        return f"diffusion, {rest} step{'s' if rest != '1' else ''}"
    if mode == "denoise":
        return f"diffusion, 1 step, {rest} passes of the head"
    return {"ar": "plain AR", "ar+skip_forced": "AR, forced tokens skipped"}.get(system, system)


def colour(system: str) -> str:
    """Grey: one token a pass. Blue: drafts without a head. Orange: drafts of the head. Green: the head alone."""
    mode, _, rest = system.partition(":")
    if mode in ("diffusion", "denoise"):
        return GREEN
    if mode == "verified":
        return ORANGE if "diffusion" in rest.split("+") else BLUE
    return GREY
