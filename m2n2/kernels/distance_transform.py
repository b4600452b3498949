"""Exact squared Euclidean distance of each pixel of a region to the nearest pixel outside it.

Felzenszwalb and Huttenlocher, "Distance Transforms of Sampled Functions" (2012): distances along columns first, then in
each row the lower envelope of one parabola a column. Everything beyond the image counts as outside.
"""

from __future__ import annotations

import numpy as np

from m2n2.kernels.compiled import compiled


def squared_depth(region_HW: np.ndarray) -> np.ndarray:
    """Squared distance in pixels, whole numbers; 0 outside the region. (H, W) bool to (H, W) int64."""
    height, width = region_HW.shape
    along_YX = np.zeros((height + 2, width + 2), np.int64)  # with a margin of zeros: beyond the image
    depth_HW = np.zeros((height, width), np.int64)
    any_H: np.ndarray = np.any(region_HW, axis=1)
    _along_columns(region_HW, along_YX)
    centre = np.empty(width + 2, np.int64)  # columns whose parabolas make the envelope
    start = np.empty(width + 3, np.float64)  # where each one begins to be the lowest
    _along_rows(along_YX, any_H, centre, start, depth_HW)
    return depth_HW


@compiled()
def _along_columns(region_HW: np.ndarray, along_YX: np.ndarray) -> None:
    height = region_HW.shape[0]
    for y in range(height):
        _count_on(region_HW[y], along_YX[y, 1:-1], along_YX[y + 1, 1:-1])
    for y in range(height - 1, -1, -1):
        _count_back(along_YX[y + 2, 1:-1], along_YX[y + 1, 1:-1])


@compiled()
def _count_on(region_W: np.ndarray, before_W: np.ndarray, run_W: np.ndarray) -> None:
    for x in range(run_W.size):
        run_W[x] = (before_W[x] + 1) * region_W[x]


@compiled()
def _count_back(after_W: np.ndarray, run_W: np.ndarray) -> None:
    for x in range(run_W.size):
        run_W[x] = min(run_W[x], after_W[x] + 1)


@compiled()
def _along_rows(
    along_YX: np.ndarray, any_H: np.ndarray, centre: np.ndarray, start: np.ndarray, depth_HW: np.ndarray
) -> None:
    """In each row the lower envelope of its parabolas."""
    for y in range(any_H.size):
        if not any_H[y]:
            continue
        along_X, depth_W = along_YX[y + 1], depth_HW[y]
        last = 0
        centre[0], start[0] = 0, -np.inf
        for x in range(1, along_X.size):
            height_here = along_X[x] ** 2 + x * x
            while True:
                other = centre[last]
                crossing = (height_here - along_X[other] ** 2 - other * other) / (2.0 * (x - other))
                if crossing > start[last]:
                    break
                last -= 1
            last += 1
            centre[last], start[last] = x, crossing
        start[last + 1] = np.inf
        k = 0
        for x in range(depth_W.size):
            while start[k + 1] < x + 1:
                k += 1
            depth_W[x] = (x + 1 - centre[k]) ** 2 + along_X[centre[k]] ** 2
