"""Working size: large images are segmented small, and masks carried to full size along the full-size colours.

Inside and outside an object a full-size pixel takes the label of the working pixel below it. Only where that has the
other label near does the pixel take a vote: of the working pixels around it, weighted by distance and by the likeness
of their colour to its own. The cost is linear in the image.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from m2n2.kernels.compiled import compiled
from m2n2.settings import Settings

SPATIAL_SIGMA = 0.7  # in working pixels
COLOUR_SIGMA = 0.3 * 255
PIXELS_A_CELL = 8  # in each direction; what 6 and 10 give is in docs/quality.md
REACH = 2  # the vote is taken over (2 * REACH + 1)^2 working pixels


def working_pixels(settings: Settings, grid: tuple[int, ...]) -> int:
    """About how many pixels an image is segmented at, whose attention has a grid of (h, w) cells."""
    wanted = settings.working_pixels
    return PIXELS_A_CELL**2 * grid[0] * grid[1] if wanted == "auto" else wanted


def working_image(image_HW3: np.ndarray, working_pixels: int) -> np.ndarray:
    """The image averaged down to about `working_pixels`, or the image itself if it is not larger."""
    height, width = image_HW3.shape[:2]
    shrink = math.sqrt(working_pixels / (height * width))
    if shrink >= 1:
        return image_HW3
    size = max(1, round(width * shrink)), max(1, round(height * shrink))
    return np.array(Image.fromarray(image_HW3).resize(size, Image.Resampling.BOX))


def carry_mask(mask_hw: np.ndarray, small_hw3: np.ndarray, image_HW3: np.ndarray) -> np.ndarray:
    """Carry a mask of the working image to the full image: (H, W) bool."""
    if mask_hw.shape == image_HW3.shape[:2]:
        return mask_hw
    colour_weight = np.exp(-np.arange(3 * 255**2 + 1) / (2 * COLOUR_SIGMA**2)).astype(np.float32)
    result_HW = np.empty(image_HW3.shape[:2], np.bool_)
    _carry(mask_hw, _near_boundary(mask_hw), small_hw3, image_HW3, colour_weight, result_HW)
    return result_HW


def _near_boundary(mask_hw: np.ndarray) -> np.ndarray:
    """Which pixels have the other label within reach."""
    changes_hw = np.zeros(mask_hw.shape, np.bool_)  # from a pixel to the one to its right, or to the one below
    changes_hw[:, :-1] = mask_hw[:, 1:] != mask_hw[:, :-1]
    changes_hw[:-1] |= mask_hw[1:] != mask_hw[:-1]
    near_hw = changes_hw
    for axis in (0, 1):
        lines = np.moveaxis(near_hw, axis, 0)
        grown = lines.copy()
        for step in range(1, REACH + 1):
            grown[step:] |= lines[:-step]
        for step in range(1, REACH):
            grown[:-step] |= lines[step:]
        near_hw = np.moveaxis(grown, 0, axis)
    return np.ascontiguousarray(near_hw)


@compiled()
def _carry(
    mask_hw: np.ndarray,
    near_hw: np.ndarray,
    small_hw3: np.ndarray,
    image_HW3: np.ndarray,
    colour_weight: np.ndarray,
    result_HW: np.ndarray,
) -> None:
    height, width = mask_hw.shape
    full_height, full_width = result_HW.shape
    column_W = np.empty(full_width, np.int64)
    for x in range(full_width):
        column_W[x] = min(width - 1, int((x + 0.5) * width / full_width))
    for y in range(full_height):
        v = (y + 0.5) * height / full_height - 0.5
        row = min(height - 1, int(v + 0.5))
        for x in range(full_width):
            column = column_W[x]
            if not near_hw[row, column]:
                result_HW[y, x] = mask_hw[row, column]
                continue
            u = (x + 0.5) * width / full_width - 0.5
            vote = np.float32(0.0)
            for j in range(max(0, row - REACH), min(height, row + REACH + 1)):
                for i in range(max(0, column - REACH), min(width, column + REACH + 1)):
                    distance = np.int64(0)
                    for channel in range(3):
                        step = np.int64(image_HW3[y, x, channel]) - np.int64(small_hw3[j, i, channel])
                        distance += step * step
                    nearness = np.exp(np.float32(((i - u) ** 2 + (j - v) ** 2) / (-2 * SPATIAL_SIGMA**2)))
                    weight = colour_weight[distance] * nearness
                    vote += weight if mask_hw[j, i] else -weight
            result_HW[y, x] = vote > 0
