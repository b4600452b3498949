"""Clicks of a box: the centre, and if wanted background clicks just outside its sides, or a grid within it."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.clicks import Box
from pipeline.importing.objects import BadRecord, BoxClicks, Click, ImportedObject

OUTSIDE = 0.05  # of the box's side, beyond its edge
LEAST_OUTSIDE = 2.0  # pixels
GRID = (0.35, 0.5, 0.65)  # of the box's sides


def clicks_of_box(each: ImportedObject, box: Box, how: BoxClicks) -> list[Click]:
    """The clicks that stand for an object's box, the centre first, none beyond the image.

    Raises:
        BadRecord: clicks outside the box are wanted, and nobody said how large the image is.
    """
    x0, y0, x1, y1 = box
    # A click names a pixel's middle, a box the edges between pixels: hence the half.
    x, y = (x0 + x1) / 2 - 0.5, (y0 + y1) / 2 - 0.5
    clicks = [(x, y, True)]
    if how == "grid":
        inside = [(x0 + u * (x1 - x0) - 0.5, y0 + v * (y1 - y0) - 0.5) for v in GRID for u in GRID]
        return clicks + [(*point, True) for point in inside if point != (x, y)]
    if how == "centre":
        return clicks
    if each.size is None:
        raise BadRecord(each.place, "size of the image", None, "a format that says it, or --images")
    width, height = each.size
    return clicks + [
        click for click in _outside(box, x, y) if 0 <= click[0] <= width - 1 and 0 <= click[1] <= height - 1
    ]


def _outside(box: Box, x: float, y: float) -> Iterator[Click]:
    x0, y0, x1, y1 = box
    across, down = (max(LEAST_OUTSIDE, OUTSIDE * side) for side in (x1 - x0, y1 - y0))
    yield x0 - across - 0.5, y, False
    yield x1 + across - 0.5, y, False
    yield x, y0 - down - 0.5, False
    yield x, y1 + down - 0.5, False
