"""How central a click is in a region: a person clicks in the middle of what they mean."""

from __future__ import annotations

import math

import numpy as np

from m2n2.kernels.distance_transform import squared_depth


def centrality(region_HW: np.ndarray, x: int, y: int) -> float:
    """The depth around pixel (x, y), 3 x 3 pixels, over the largest depth of the region; 0 outside the region."""
    if not region_HW[y, x]:
        return 0.0
    depth_HW = squared_depth(region_HW)
    here = depth_HW[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2].max()
    return math.sqrt(int(here) / int(depth_HW.max()))
