"""Truncated nearest neighbour: from points' maps to one object's mask (section 8 of docs/algorithm.md).

    distance to point i = m_i / max(lambda_i, 1e-7)

A pixel takes the class of its nearest point, the earliest of equals, and is foreground if that is a foreground point at
a distance of at most 1. Each point's own pixel takes that point's label, the last click's where several share a pixel.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from m2n2.kernels.compiled import compiled

SMALLEST_THRESHOLD = np.float32(1e-7)
STABILITY_MARGIN = 0.3


def object_distance(flooded: Sequence[np.ndarray], thresholds: Sequence[float], labels: Sequence[bool]) -> np.ndarray:
    """Distance of each pixel to the object: to its nearest point, or infinite where that is a background point.

    Args:
        flooded: one (H, W) float32 map a point, in the order of the clicks.
        thresholds: lambda of each point.
        labels: True for a foreground point.

    Returns:
        (H, W) float32; the object is where this is at most 1.
    """
    nearest_HW = np.full(flooded[0].shape, np.inf, np.float32)
    foreground_HW = np.zeros(flooded[0].shape, np.bool_)
    for map_HW, threshold, label in zip(flooded, thresholds, labels, strict=True):
        _take_nearer(map_HW, max(np.float32(threshold), SMALLEST_THRESHOLD), label, nearest_HW, foreground_HW)
    nearest_HW[~foreground_HW] = np.inf
    return nearest_HW


def stability(distance_HW: np.ndarray) -> float:
    """How little the mask depends on its thresholds: IoU of the masks with all lambdas 30% smaller and larger.

    The two are nested, so that this is the ratio of their areas.
    """
    larger = np.count_nonzero(distance_HW <= 1 + STABILITY_MARGIN)
    return np.count_nonzero(distance_HW <= 1 - STABILITY_MARGIN) / larger if larger else 0.0


def mark_points(mask_HW: np.ndarray, pixels: Sequence[tuple[int, int]], labels: Sequence[bool]) -> None:
    """Give each point's pixel that point's label, in place."""
    for (x, y), label in zip(pixels, labels, strict=True):
        mask_HW[y, x] = label


def keep_apart(masks: Sequence[np.ndarray], foreground: Sequence[Sequence[tuple[int, int]]]) -> None:
    """Give each pixel to at most one mask, in place: the smallest that has it, but foreground points to their own.

    Args:
        masks: (H, ceil(W / 8)) uint8 each, as `numpy.packbits(mask_HW, axis=1)` packs them.
        foreground: pixels (x, y) of each one's foreground points.

    The smaller of two objects is the likelier one in front. Measured on 45 objects of COCO with three clicks each, this
    costs 0.016 of mean IoU; giving pixels to the object of the smallest `object_distance` costs 0.050.
    """
    taken = np.zeros_like(masks[0])
    for mask in sorted(masks, key=_area):
        mask &= ~taken
        taken |= mask
    for own, points in reversed(list(zip(masks, foreground, strict=True))):
        for x, y in points:
            byte, bit = (y, x // 8), np.uint8(128 >> x % 8)
            for mask in masks:
                mask[byte] = mask[byte] | bit if mask is own else mask[byte] & ~bit


def _area(packed: np.ndarray) -> int:
    return int(np.bitwise_count(packed).sum(dtype=np.int64))


@compiled()
def _take_nearer(
    map_HW: np.ndarray, threshold: np.float32, label: bool, nearest_HW: np.ndarray, foreground_HW: np.ndarray
) -> None:
    height, width = map_HW.shape
    for y in range(height):
        for x in range(width):
            distance = map_HW[y, x] / threshold
            if distance < nearest_HW[y, x]:
                nearest_HW[y, x] = distance
                foreground_HW[y, x] = label
