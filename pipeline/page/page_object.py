"""One object of an image as the page has it, and whether what a browser says of one can be."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.clicks import BOX, Box

Click = tuple[float, float, bool]  # x, y in pixels of the image, and whether it is on the object


@dataclass(frozen=True)
class PageObject:
    """One object of an image as the page shows it; without clicks it is none.

    Attributes:
        box: that another tool gave it, see `pipeline.clicks`; without a click on the object its centre is one.
    """

    name: str
    category: str
    clicks: tuple[Click, ...]
    box: Box | None = None


class InvalidChange(ValueError):
    """A change that is none: says what was found and what is allowed."""


def box_of_row(row: Mapping[str, Any]) -> Box | None:
    """The box of a row; None where it has none, or one that no run would take."""
    x0, y0, x1, y1 = (row[name] for name in BOX)
    known = all(each is not None and math.isfinite(each) for each in (x0, y0, x1, y1))
    return (x0, y0, x1, y1) if known and x0 < x1 and y0 < y1 else None


def checked_object(name: str, given: Mapping[str, Any]) -> PageObject:
    """The object that a browser or a log gives: a mapping of `category`, `clicks`, `box`. Raises InvalidChange."""
    category, clicks = given.get("category"), given.get("clicks")
    if not name or not isinstance(category, str) or not category:
        raise InvalidChange(f"object {name!r}, category: found {category!r}; allowed: a name for both")
    if not isinstance(clicks, list):
        raise InvalidChange(f"object {name!r}, clicks: found {clicks!r}; allowed: a list of [x, y, label]")
    points = tuple(dict.fromkeys(_checked_click(name, each) for each in clicks))
    return PageObject(name, category, points, _checked_box(name, given.get("box")))


def _checked_box(name: str, given: Any) -> Box | None:
    numbers = isinstance(given, list | tuple) and len(given) == 4 and all(isinstance(e, int | float) for e in given)
    box = box_of_row(dict(zip(BOX, map(float, given), strict=True))) if numbers else None
    if given is not None and box is None:
        raise InvalidChange(f"object {name!r}: found box {given!r}; allowed: [x0, y0, x1, y1] with an area, or none")
    return box


def _checked_click(name: str, given: Any) -> Click:
    shaped = isinstance(given, list) and len(given) == 3
    if not shaped or not all(isinstance(each, int | float) for each in given) or given[2] not in (0, 1):
        raise InvalidChange(f"object {name!r}: found click {given!r}; allowed: [x, y, label], label 0 or 1")
    x, y = float(given[0]), float(given[1])
    if not (math.isfinite(x) and math.isfinite(y)):
        raise InvalidChange(f"object {name!r}: found click {given!r}; allowed: finite numbers")
    return x, y, bool(given[2])


def plain(given: PageObject) -> dict[str, Any]:
    """As `checked_object` takes it, for JSON."""
    clicks = [[x, y, int(label)] for x, y, label in given.clicks]
    return {"category": given.category, "clicks": clicks, "box": given.box}
