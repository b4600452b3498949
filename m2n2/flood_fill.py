"""Flood fill: from a semantic map to an instance's map (section 6 of docs/algorithm.md; the paper's "flood fill").

    g(p) = |m(p) - m(x)|        for the prompt's pixel x
    v(p) = min over 4-connected paths x .. p of the largest g on the path
    result = v / max(v)

This is Prim's algorithm with the pixels' ranks for a queue: all pixels are sorted by g once, a waiting pixel is a mark
at its rank, and the next pixel is found by a cursor over the ranks. The cursor never goes back, since what is at or
below the current level is flooded at once by a plain stack. Values are exact and the cost is linear.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from m2n2.kernels.four_neighbours import four_neighbours
from m2n2.kernels.radix_sort import stable_order

UNSEEN = np.float32(-1.0)
WAITING = np.float32(-2.0)


@njit(nogil=True, cache=True)
def flood_fill(map_HW: np.ndarray, x: int, y: int) -> np.ndarray:
    """Flood `map_HW` (float32) from pixel (x, y): smallest threshold that joins each pixel to it, over the largest."""
    height, width = map_HW.shape
    n = height * width
    start = y * width + x
    cost = _differences(map_HW.reshape(n), start)
    order = stable_order(cost)
    rank = np.empty(n, np.int32)
    for k in range(n):
        rank[order[k]] = k
    waiting = np.zeros(n, np.bool_)  # by rank
    flooded = np.full(n, UNSEEN, np.float32)
    stack = np.empty(n, np.int32)
    neighbours = np.empty(4, np.int64)

    next_pixel = np.int64(start)
    level = np.float32(0.0)
    cursor = 0
    while True:
        level = cost[next_pixel]
        flooded[next_pixel] = level
        stack[0] = next_pixel
        stacked = 1
        while stacked > 0:
            stacked -= 1
            four_neighbours(np.int64(stack[stacked]), width, n, neighbours)
            for near in neighbours:
                if near < 0 or flooded[near] != UNSEEN:
                    continue
                if cost[near] <= level:
                    flooded[near] = level
                    stack[stacked] = near
                    stacked += 1
                else:
                    flooded[near] = WAITING
                    waiting[rank[near]] = True
        while cursor < n and not waiting[cursor]:
            cursor += 1
        if cursor == n:
            break
        next_pixel = np.int64(order[cursor])
        cursor += 1
    _divide(flooded, level)  # the last level is the largest
    return flooded.reshape(height, width)


@njit(nogil=True, cache=True)
def difference(map_HW: np.ndarray, x: int, y: int) -> np.ndarray:
    """The map without flooding: each pixel's difference `g` from pixel (x, y), over the largest."""
    height, width = map_HW.shape
    cost = _differences(map_HW.reshape(height * width), y * width + x)
    _divide(cost, cost.max())
    return cost.reshape(height, width)


@njit(nogil=True, cache=True)
def _differences(values: np.ndarray, pixel: int) -> np.ndarray:
    differences = np.empty(values.size, np.float32)
    for i in range(values.size):
        differences[i] = abs(values[i] - values[pixel])
    return differences


@njit(nogil=True, cache=True)
def _divide(values: np.ndarray, divisor: np.float32) -> None:
    if divisor > 0:
        for i in range(values.size):
            values[i] /= divisor
