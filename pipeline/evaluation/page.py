"""An evaluation for people: a table as text, the mean IoU over clicks as SVG, and one HTML page with both."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

from m2n2.evaluation import Session, Summary
from m2n2.evaluation.measures import iou_after

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 640, 360, 48, 40, 16, 16
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b", "#17becf", "#7f7f7f")


def table(summaries: Mapping[str, Summary]) -> list[list[str]]:
    """A heading row, then a row a summary."""
    first = next(iter(summaries.values()))
    heading = ["", "objects", *(f"NoC{target * 100:.0f}" for target in first.noc)]
    heading += [f"failures{target * 100:.0f}" for target in first.failures]
    heading += [f"IoU@{clicks}" for clicks in first.iou] + ["drops", "s/click"]
    return [heading, *([name, *_cells(summary)] for name, summary in summaries.items())]


def text_table(rows: Sequence[Sequence[str]]) -> str:
    """The table in columns."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for name, *values in rows:
        cells = [value.rjust(width) for value, width in zip(values, widths[1:], strict=True)]
        lines.append("  ".join([name.ljust(widths[0]), *cells]).rstrip())
    return "\n".join(lines)


def curve(sessions: Mapping[str, Sequence[Session]], cap: int) -> str:
    """Mean IoU after each click, a line an evaluation: SVG."""
    lines = []
    for number, (name, each) in enumerate(sessions.items()):
        means = [sum(iou_after(session.ious, clicks) for session in each) / len(each) for clicks in range(1, cap + 1)]
        points = " ".join(f"{_x(clicks, cap):.1f},{_y(iou):.1f}" for clicks, iou in enumerate(means, 1))
        colour = COLOURS[number % len(COLOURS)]
        lines.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        height = HEIGHT - BOTTOM - 12 - 16 * (len(sessions) - 1 - number)
        label = html.escape(name)
        lines.append(f'<text x="{WIDTH - RIGHT - 8}" y="{height}" fill="{colour}" text-anchor="end">{label}</text>')
    for tenth in range(0, 11, 2):
        y = _y(tenth / 10)
        lines.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        lines.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tenth / 10:.1f}</text>')
    for clicks in sorted({1, *range(5, cap + 1, 5), cap}):
        x = _x(clicks, cap)
        lines.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{clicks}</text>')
    lines.append(f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 4}" text-anchor="middle">clicks</text>')
    lines.append(f'<text x="{LEFT + 4}" y="{TOP - 3}">mean IoU</text>')
    body = "\n".join(lines)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="12">\n{body}\n</svg>\n'
    )


def page(title: str, rows: Sequence[Sequence[str]], svg: str, notes: Sequence[str] = ()) -> str:
    """One HTML page that needs nothing else."""
    heading, *body = rows
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in heading)
    lines = ["<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in body]
    said = "".join(f"<p>{html.escape(note)}</p>" for note in notes)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        "<style>body{font:15px sans-serif;max-width:70em;margin:2em auto;padding:0 1em}"
        "td,th{padding:.2em .7em;text-align:right;border-bottom:1px solid #ddd}"
        "td:first-child{text-align:left}svg{max-width:48em}</style>"
        f"<h1>{html.escape(title)}</h1><table><tr>{head}</tr>{''.join(lines)}</table>{svg}{said}</html>\n"
    )


def _cells(summary: Summary) -> list[str]:
    cells = [str(summary.objects), *(f"{clicks:.2f}" for clicks in summary.noc.values())]
    cells += [str(number) for number in summary.failures.values()] + [f"{iou:.3f}" for iou in summary.iou.values()]
    return [*cells, f"{summary.drops}/{summary.added_clicks}", f"{summary.seconds_a_click:.2f}"]


def _x(clicks: int, cap: int) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * (clicks - 1) / max(1, cap - 1)


def _y(iou: float) -> float:
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - iou)
