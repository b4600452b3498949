"""A box around the object, where somebody gives one: nothing beyond it is the object.

It acts twice. In the choice of a threshold (section 7 of docs/algorithm.md) a candidate's score is multiplied by
the share of the candidate that lies within the box, to a power: pixels beyond it are evidence against the candidate, as
background points are. And what is left of the mask beyond the box grown by `Settings.box_margin` is taken away.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from m2n2.prompt import Box
from m2n2.settings import Settings
from m2n2.threshold import Candidates

POWER = 2.0


@dataclass(frozen=True)
class BoxOnGrid:
    """A box in whole pixels of an image: rows and columns of the box itself, and grown by the margin."""

    inner: tuple[slice, slice]
    grown: tuple[slice, slice]

    def weighted(self, found: Candidates, flooded_hw: np.ndarray) -> Candidates:
        """Candidates of a flooded map, (h, w) float32, scored by how much of each lies within the box as well."""
        within = np.zeros(flooded_hw.shape, np.bool_)
        within[self.inner] = True
        inside, outside = (
            np.searchsorted(np.sort(values), found.lambdas, side="right")
            for values in (flooded_hw[within], flooded_hw[~within])
        )
        shares = inside / np.maximum(inside + outside, 1)
        return found._replace(edges=(found.edges * shares**POWER).astype(np.float32))

    def clear_beyond(self, values_hw: np.ndarray, value: float) -> None:
        """Set everything beyond the grown box to a value, in place."""
        rows, columns = self.grown
        values_hw[: rows.start], values_hw[rows.stop :] = value, value
        values_hw[:, : columns.start], values_hw[:, columns.stop :] = value, value


def box_on_grid(box: Box, settings: Settings, image: tuple[int, int], grid: tuple[int, int]) -> BoxOnGrid:
    """A box of an image of (height, width) pixels on the same image in another size; at least one pixel of it."""
    x0, y0, x1, y1 = box
    across, down = settings.box_margin * (x1 - x0), settings.box_margin * (y1 - y0)
    columns, rows = grid[1] / image[1], grid[0] / image[0]
    return BoxOnGrid(
        (_pixels(y0 * rows, y1 * rows, grid[0]), _pixels(x0 * columns, x1 * columns, grid[1])),
        (
            _pixels((y0 - down) * rows, (y1 + down) * rows, grid[0]),
            _pixels((x0 - across) * columns, (x1 + across) * columns, grid[1]),
        ),
    )


def _pixels(first: float, last: float, side: int) -> slice:
    """The pixels whose middle lies between two edges, at least one."""
    start = min(max(math.ceil(first - 0.5), 0), side - 1)
    return slice(start, min(max(math.ceil(last - 0.5), start + 1), side))
