"""How near the kernels come to what the device can do: operations a second over operations a byte."""

from collections.abc import Sequence
from pathlib import Path

from figures.style import COLOURS, FOOT_COLOUR, GREY, Row, new_figure, styled, write

OURS = "smoldiff"
INCHES_HIGH = 4.6


def draw_roofline(rows: Sequence[Row], path: Path) -> None:
    """rows: of bench_kernels.py, all of one run."""
    ours = [row for row in rows if row["impl"] == OURS]
    flops, bytes_s = 1e12 * ours[0]["ceiling_tflops"], 1e12 * ours[0]["ceiling_tb_s"]
    with styled():
        figure, ((axes,),) = new_figure(1, 1, INCHES_HIGH)
        intensities = [row["flops"] / row["bytes"] for row in ours]
        low, high = min(intensities) / 2, max(*intensities, 2 * flops / bytes_s) * 2
        ridge = flops / bytes_s
        axes.plot(
            [low, ridge, high], [low * bytes_s / 1e12, flops / 1e12, flops / 1e12], color=GREY
        )
        axes.annotate(
            f"{flops / 1e12:.0f} TFLOP/s, {bytes_s / 1e12:.2f} TB/s: measured ceilings",
            (high, flops / 1e12),
            textcoords="offset points",
            xytext=(-4, 4),
            ha="right",
            color=FOOT_COLOUR,
        )
        ops = list(dict.fromkeys(row["op"] for row in ours))
        for op, colour in zip(ops, COLOURS, strict=False):
            of_op = [row for row in ours if row["op"] == op]
            x = [row["flops"] / row["bytes"] for row in of_op]
            y = [row["flops"] / row["us"] / 1e6 for row in of_op]
            axes.scatter(x, y, s=16, color=colour, label=op)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("operations a byte that must be moved")
        axes.set_ylabel("TFLOP/s reached")
        figure.legend(loc="outside right upper")
        write(figure, ours, path)
