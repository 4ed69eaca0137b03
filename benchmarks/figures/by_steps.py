"""Exact calls of mode "diffusion" against its steps, with the base's own as the line to reach."""

from collections.abc import Sequence

from figures.style import COLOURS, Row, by_data, new_figure
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

INCHES_HIGH = 3.6
BASELINE = "ar"
MODE = "diffusion:"


def by_steps(rows: Sequence[Row]) -> Figure | None:
    """rows: of bench_calls.py. None where there is no such system."""
    figure, ((axes,),) = new_figure(1, 1, INCHES_HIGH)
    all_steps: set[int] = set()
    for (name, group), colour in zip(by_data(rows).items(), COLOURS, strict=False):
        found = sorted(
            (int(row["system"].removeprefix(MODE)), row["exact_pct"])
            for row in group
            if row["system"].startswith(MODE)
        )
        if not found:
            continue
        steps, exact = zip(*found, strict=True)
        all_steps |= set(steps)
        axes.plot(steps, exact, "o-", color=colour, label=f"{name}, diffusion")
        for row in group:
            if row["system"] == BASELINE:
                style = {"color": colour, "linestyle": "--", "linewidth": 1}
                axes.axhline(row["exact_pct"], label=f"{name}, plain AR", **style)
    if not all_steps:
        return None
    axes.set_xscale("log", base=2)
    axes.set_xticks(sorted(all_steps), [str(number) for number in sorted(all_steps)])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_ylim(bottom=0)
    axes.set_xlabel("steps: passes of the base, the prompt's among them (log scale)")
    axes.set_ylabel(f"exact calls (% of {rows[0]['n']} examples each)")
    figure.legend(loc="outside right upper")
    return figure
