"""The clicks of an object against the image they were made on: what lies beside it, and what looks made on another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pipeline.clicks import ObjectClicks
from pipeline.failure import Failure
from pipeline.parts import Size
from pipeline.tasks import Doubt

BEYOND = 1.0  # pixels beyond the edges 0 and width or height that count as the edge
WIDTH_AND_HEIGHT_SWAPPED = (5, 6, 7, 8)  # EXIF orientations


def placed_on(clicks: ObjectClicks, size: Size, files: Sequence[str], exif_orientation: int = 1) -> ObjectClicks:
    """The object with every click on a pixel of the image: up to one pixel beyond an edge counts as the edge.

    Where a click lies farther out, the object has failed with `click_outside`.

    Args:
        files: what the clicks' `file` refers to.
        exif_orientation: how a viewer would turn the image, 1 where the pixels are turned already.
    """
    for click in clicks.clicks:
        if not _inside(click, size):
            where = f"{files[click['file']]}, row {click['row']}: columns x, y"
            found = f"found ({click['x']:g}, {click['y']:g}) in image {clicks.image!r}"
            allowed = f"allowed: 0..{size.width - 1}, 0..{size.height - 1}"
            hint = _hint(clicks.clicks, size, exif_orientation)
            return replace(clicks, failure=Failure("click_outside", f"{where}: {found}; {allowed}{hint}"))
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


def _on_pixel(coordinate: float, side: int) -> float:
    return coordinate if 0 <= round(coordinate) < side else float(min(max(coordinate, 0), side - 1))
