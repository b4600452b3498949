"""The clicks of an object against the image they were made on: what lies beside it, and what looks made on another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pipeline.clicks import Box, ObjectClicks
from pipeline.failure import Failure
from pipeline.parts import Size
from pipeline.tasks import Doubt

BEYOND = 1.0  # pixels beyond the edges 0 and width or height that count as the edge
WIDTH_AND_HEIGHT_SWAPPED = (5, 6, 7, 8)  # EXIF orientations


def placed_on(
    clicks: ObjectClicks, size: Size, files: Sequence[str], exif_orientation: int = 1, box_margin: float = 0.1
) -> ObjectClicks:
    """The object with every click on a pixel of the image: up to one pixel beyond an edge counts as the edge.

    Where a click lies farther out, the object has failed with `click_outside`; where its box has no pixel of the image,
    or a click on the object lies beyond the box and its margin, with `box_outside`.

    Args:
        files: what the clicks' `file` refers to.
        box_margin: of the settings.
        exif_orientation: how a viewer would turn the image, 1 where the pixels are turned already.
    """
    for click in clicks.clicks:
        if not _inside(click, size):
            where = f"{files[click['file']]}, row {click['row']}: columns x, y"
            found = f"found ({click['x']:g}, {click['y']:g}) in image {clicks.image!r}"
            allowed = f"allowed: 0..{size.width - 1}, 0..{size.height - 1}"
            hint = _hint(clicks.clicks, size, exif_orientation)
            return replace(clicks, failure=Failure("click_outside", f"{where}: {found}; {allowed}{hint}"))
    if clicks.box is not None and (problem := _beside_box(clicks, clicks.box, size, box_margin)):
        where = f"{files[clicks.clicks[0]['file']]}, row {clicks.clicks[0]['row']}"
        return replace(clicks, failure=Failure("box_outside", f"{where}: object {clicks.object!r}: {problem}"))
    on_pixels = [
        click | {"x": _on_pixel(click["x"], size.width), "y": _on_pixel(click["y"], size.height)}
        for click in clicks.clicks
    ]
    return replace(clicks, clicks=on_pixels)


def doubts_about(objects: Sequence[ObjectClicks], size: Size, exif_orientation: int) -> set[Doubt]:
    """What speaks against these clicks having been made on this image as it is stored."""
    clicks = [click for each in objects for click in each.clicks]
    doubts: set[Doubt] = set()
    if exif_orientation in WIDTH_AND_HEIGHT_SWAPPED:
        turned = Size(size.height, size.width)
        # A click that is on the stored image and not on the turned one can only have been made on the stored one.
        if not any(_inside(click, size) and not _inside(click, turned) for click in clicks):
            doubts.add("exif_orientation")
    elif exif_orientation != 1:
        doubts.add("exif_orientation")
    if all(click["x"] < size.width / 2 and click["y"] < size.height / 2 for click in clicks):
        doubts.add("upper_left_quarter")
    return doubts


def _hint(clicks: Sequence[dict[str, Any]], size: Size, exif_orientation: int) -> str:
    turned = Size(size.height, size.width)
    if exif_orientation in WIDTH_AND_HEIGHT_SWAPPED and all(_inside(click, turned) for click in clicks):
        return (
            f"; turned by its EXIF orientation {exif_orientation} it would have all clicks: `orientation: displayed`?"
        )
    if all(_inside(click, turned) for click in clicks):
        return "; with x and y swapped all clicks would lie on it"
    return ""


def _inside(click: dict[str, Any], size: Size) -> bool:
    return all(-BEYOND <= click[axis] <= side + BEYOND for axis, side in (("x", size.width), ("y", size.height)))


def _beside_box(clicks: ObjectClicks, box: Box, size: Size, margin: float) -> str | None:
    x0, y0, x1, y1 = box
    found = f"found box ({x0:g}, {y0:g}, {x1:g}, {y1:g})"
    if not (x0 < size.width and y0 < size.height and x1 > 0 and y1 > 0):
        return f"{found} in image {clicks.image!r}; allowed: a box with pixels of 0..{size.width}, 0..{size.height}"
    across, down = (max(BEYOND, margin * side) for side in (x1 - x0, y1 - y0))
    for click in clicks.clicks:
        x, y = click["x"] + 0.5, click["y"] + 0.5
        if click["label"] and not (x0 - across <= x <= x1 + across and y0 - down <= y <= y1 + down):
            return f"{found} and a click on the object at ({click['x']:g}, {click['y']:g}); allowed: clicks in its box"
    return None


def _on_pixel(coordinate: float, side: int) -> float:
    return coordinate if 0 <= round(coordinate) < side else float(min(max(coordinate, 0), side - 1))
