"""Prompt: the clicks of one object."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from m2n2.errors import InvalidPrompt

Point = tuple[float, float]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Prompt:
    """Clicks on one object, in the order they were made.

    Attributes:
        points: (x, y) in pixels of the image, origin at its top left corner.
        labels: for each point, True on the object (foreground), False beside it (background).
        box: edges (x0, y0, x1, y1) of a box around the object, from the image's top left corner; None where there is
            none. The mask stays within it or nearly so (`Settings.box_margin`).

    Raises:
        InvalidPrompt: no points, a coordinate that is no finite number, not one label a point, a label that is neither
            True nor False, or a box without area.
    """

    points: Sequence[Point]
    labels: Sequence[bool] = field(default=())
    box: Box | None = None

    def __post_init__(self) -> None:
        if len(self.points) == 0:
            raise InvalidPrompt("a prompt needs at least one point")
        labels = self.labels if len(self.labels) else [True] * len(self.points)
        if len(labels) != len(self.points):
            raise InvalidPrompt(f"{len(self.points)} points but {len(labels)} labels: one label a point is needed")
        points = tuple((x, y) for x, y in (_finite("point", point, 2) for point in self.points))
        if self.box is not None:
            x0, y0, x1, y1 = _finite("box", self.box, 4)
            if not (x0 < x1 and y0 < y1):
                raise InvalidPrompt(f"box {self.box!r} is none: it needs x0 < x1 and y0 < y1")
            object.__setattr__(self, "box", (x0, y0, x1, y1))
        object.__setattr__(self, "points", points)
        object.__setattr__(self, "labels", tuple(_label(label) for label in labels))


def _finite(what: str, numbers: Iterable[float], count: int) -> tuple[float, ...]:
    try:
        found = tuple(float(each) for each in numbers if not isinstance(each, str))
    except (TypeError, OverflowError):
        found = ()
    if len(found) != count or not all(map(math.isfinite, found)):
        raise InvalidPrompt(f"{what} {numbers!r} is none: it needs {count} finite numbers")
    return found


def _label(label: object) -> bool:
    """True and 1, False and 0, of whatever library; nothing else that happens to be true."""
    if label not in (0, 1):
        raise InvalidPrompt(f"label {label!r} is none: it needs True on the object, False beside it")
    return bool(label)
