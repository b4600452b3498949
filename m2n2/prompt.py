"""Prompt: the clicks of one object."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from m2n2.errors import InvalidPrompt

Point = tuple[float, float]


@dataclass(frozen=True)
class Prompt:
    """Clicks on one object, in the order they were made.

    Attributes:
        points: (x, y) in pixels of the image, origin at its top left corner.
        labels: for each point, True on the object (foreground), False beside it (background).

    Raises:
        InvalidPrompt: no points, a coordinate that is not finite, or not one label a point.
    """

    points: Sequence[Point]
    labels: Sequence[bool] = field(default=())

    def __post_init__(self) -> None:
        if len(self.points) == 0:
            raise InvalidPrompt("a prompt needs at least one point")
        labels = self.labels if len(self.labels) else [True] * len(self.points)
        if len(labels) != len(self.points):
            raise InvalidPrompt(f"{len(self.points)} points but {len(labels)} labels: one label a point is needed")
        for x, y in self.points:
            if not (math.isfinite(x) and math.isfinite(y)):
                raise InvalidPrompt(f"point ({x}, {y}) is not finite")
        object.__setattr__(self, "points", tuple((float(x), float(y)) for x, y in self.points))
        object.__setattr__(self, "labels", tuple(bool(label) for label in labels))
