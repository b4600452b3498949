"""Prompt: the clicks of one object."""

from __future__ import annotations

import math
from collections.abc import Sequence
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
        InvalidPrompt: no points, a coordinate that is not finite, not one label a point, or a box without area.
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
        for x, y in self.points:
            if not (math.isfinite(x) and math.isfinite(y)):
                raise InvalidPrompt(f"point ({x}, {y}) is not finite")
        if self.box is not None:
            x0, y0, x1, y1 = self.box
            if not (all(math.isfinite(edge) for edge in self.box) and x0 < x1 and y0 < y1):
                raise InvalidPrompt(f"box {tuple(self.box)} is none: it needs finite x0 < x1 and y0 < y1")
            object.__setattr__(self, "box", (float(x0), float(y0), float(x1), float(y1)))
        object.__setattr__(self, "points", tuple((float(x), float(y)) for x, y in self.points))
        object.__setattr__(self, "labels", tuple(bool(label) for label in labels))
