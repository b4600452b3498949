"""Clicks beside their image: known only once the image is there."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.clicks import ObjectClicks
from pipeline.failure import Failure


def click_outside(clicks: ObjectClicks, files: Sequence[str], width: int, height: int) -> Failure | None:
    """The failure of an object with a click outside a `width` x `height` image, None where all are inside."""
    for click in clicks.clicks:
        if not (0 <= round(click["x"]) < width and 0 <= round(click["y"]) < height):
            where = f"{files[click['file']]}, row {click['row']}: columns x, y"
            found = f"found ({click['x']:g}, {click['y']:g}) in image {clicks.image!r}"
            return Failure("click_outside", f"{where}: {found}; allowed: 0..{width - 1}, 0..{height - 1}")
    return None
