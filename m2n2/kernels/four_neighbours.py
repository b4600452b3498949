"""The 4-connected neighbours of a pixel, for the kernels that walk over an image stored as one row of pixels."""

from __future__ import annotations

import numpy as np

from m2n2.kernels.compiled import compiled


@compiled()
def four_neighbours(pixel: np.int64, width: int, pixels: int, neighbours: np.ndarray) -> None:
    """Write the neighbours' numbers, or -1 beyond the image's border, into `neighbours` (4,)."""
    column = pixel % width
    neighbours[0] = pixel - 1 if column > 0 else -1
    neighbours[1] = pixel + 1 if column < width - 1 else -1
    neighbours[2] = pixel - width if pixel >= width else -1
    neighbours[3] = pixel + width if pixel + width < pixels else -1
