"""The 4-connected part of a region that holds a pixel."""

from __future__ import annotations

import numpy as np

from m2n2.kernels.compiled import compiled
from m2n2.kernels.four_neighbours import four_neighbours


@compiled()
def component_at(region_HW: np.ndarray, x: int, y: int) -> np.ndarray:
    """(H, W) bool of the part of the region around pixel (x, y); empty where that is not in the region."""
    height, width = region_HW.shape
    n = height * width
    region = region_HW.copy().reshape(n)  # pixels that were reached are taken out of it
    part = np.zeros(n, np.bool_)
    stack = np.empty(n, np.int64)
    neighbours = np.empty(4, np.int64)
    stacked = 0
    start = y * width + x
    if region[start]:
        region[start] = False
        stack[0] = start
        stacked = 1
    while stacked > 0:
        stacked -= 1
        pixel = stack[stacked]
        part[pixel] = True
        four_neighbours(pixel, width, n, neighbours)
        for near in neighbours:
            if near >= 0 and region[near]:
                region[near] = False
                stack[stacked] = near
                stacked += 1
    return part.reshape(height, width)
