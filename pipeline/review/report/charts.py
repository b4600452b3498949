"""The report's charts: Matplotlib's SVG, made to stand in a page and to take its colours, also in the dark."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

# Matplotlib wants colours; the page has its own for light and dark. Each of these stands for one of the page's.
TEXT, LINE, ACCENT, SECOND = "#010101", "#020202", "#030303", "#040404"
IN_THE_PAGE = {TEXT: "currentColor", LINE: "var(--line)", ACCENT: "var(--accent)", SECOND: "var(--second)"}
PARTS_OF_A_WHOLE = [f"#05050{number}" for number in range(8)]
IN_THE_PAGE |= {colour: f"var(--part-{number})" for number, colour in enumerate(PARTS_OF_A_WHOLE)}
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",  # text stays text
    "text.parse_math": False,  # a category may be called $x
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": TEXT,
    "axes.labelcolor": TEXT,
    "axes.edgecolor": LINE,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": TEXT,
    "ytick.labelcolor": TEXT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": LINE,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}
LONGEST_LABEL = 22
CLICK_COUNTS = ("1", "2", "3", "4", "5 and more")


def bars(name: str, edges: Sequence[float], heights: Sequence[float], x_label: str, y_label: str) -> str:
    """A histogram: bar i stands between edges i and i + 1."""
    with _chart(name) as (figure, axes, svg):
        widths = [right - left for left, right in pairwise(edges)]
        axes.bar(edges[:-1], heights, width=widths, align="edge", color=ACCENT, edgecolor="none", linewidth=0)
        axes.set(xlabel=x_label, ylabel=y_label, xlim=(edges[0], edges[-1]), ylim=(0, max([*heights, 1e-9]) * 1.05))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=all(float(height).is_integer() for height in heights)))
        figure.set_size_inches(5.4, 2.9)
    return svg[0]


def boxes(name: str, quantiles: Mapping[str, Sequence[float]], x_label: str) -> str:
    """A line a category: quantiles 5, 25, 50, 75 and 95% on a logarithmic axis."""
    with _chart(name) as (figure, axes, svg):
        rows = [
            {"label": _short(each), "whislo": low, "q1": q1, "med": middle, "q3": q3, "whishi": high, "fliers": []}
            for each, (low, q1, middle, q3, high) in list(quantiles.items())[::-1]
        ]
        axes.bxp(
            rows,
            orientation="horizontal",
            patch_artist=True,
            widths=0.55,
            showfliers=False,
            boxprops={"facecolor": ACCENT, "edgecolor": "none"},
            medianprops={"color": SECOND, "linewidth": 2},
            whiskerprops={"color": ACCENT},
            capprops={"color": ACCENT},
        )
        axes.set(xscale="log", xlabel=x_label)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}%"))
        axes.grid(axis="x")
        axes.grid(visible=False, axis="y")
        figure.set_size_inches(5.4, 0.9 + 0.3 * len(rows))
    return svg[0]


def shares(name: str, rows: Mapping[str, Sequence[float]], parts: Sequence[str], x_label: str) -> str:
    """A bar a row, from 0 to 100%, of the parts of a whole; `rows` have a share for each of `parts`."""
    with _chart(name) as (figure, axes, svg):
        labels = [_short(each) for each in list(rows)[::-1]]
        values = list(rows.values())[::-1]
        lefts = [0.0] * len(rows)
        for number, part in enumerate(parts):
            lengths = [100 * each[number] for each in values]
            colour = PARTS_OF_A_WHOLE[number % len(PARTS_OF_A_WHOLE)]
            axes.barh(range(len(rows)), lengths, left=lefts, height=0.6, color=colour, label=part)
            lefts = [left + length for left, length in zip(lefts, lengths, strict=True)]
        axes.set(xlim=(0, 100), xlabel=x_label, yticks=range(len(rows)), yticklabels=labels)
        axes.grid(axis="x")
        axes.grid(visible=False, axis="y")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}%"))
        columns = min(len(parts), len(CLICK_COUNTS))
        figure.legend(loc="outside upper left", ncols=columns, frameon=False, handlelength=1, fontsize=9)
        figure.set_size_inches(5.4, 1.0 + 0.22 * -(-len(parts) // columns) + 0.34 * len(rows))
    return svg[0]


def diagonal(name: str, points: Sequence[tuple[float, float]], x_label: str, y_label: str) -> str:
    """Points between 0 and 1 on both axes, beside the line on which both are the same."""
    with _chart(name) as (figure, axes, svg):
        axes.plot([0, 1], [0, 1], color=LINE, linewidth=1.5)
        axes.plot(*zip(*points, strict=True), color=ACCENT, marker="o", linewidth=1.5)
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel=x_label, ylabel=y_label)
        figure.set_size_inches(5.4, 2.9)
    return svg[0]


@contextmanager
def _chart(name: str) -> Iterator[tuple[Figure, Any, list[str]]]:
    """A figure with its axes; once they are drawn, the SVG stands in the list. No two of a page have one `name`."""
    svg: list[str] = []
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": name}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # only to measure text; the browser has the glyph
        figure = Figure(layout="constrained")
        yield figure, figure.add_subplot(), svg
        sink = io.StringIO()
        figure.savefig(sink, format="svg", transparent=True, metadata={"Date": None})
        svg.append(_for_a_page(sink.getvalue(), name))


def _for_a_page(svg: str, name: str) -> str:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style .*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\1{name}-", svg)  # several charts stand in one page
    svg = re.sub(r'<svg .*?viewBox="([^"]*)".*?>', rf'<svg viewBox="\1" role="img" aria-label="{name}">', svg, count=1)
    for colour, ours in IN_THE_PAGE.items():
        svg = svg.replace(colour, ours)
    return svg


def _short(label: str) -> str:
    return label if len(label) <= LONGEST_LABEL else f"{label[: LONGEST_LABEL - 1]}…"
