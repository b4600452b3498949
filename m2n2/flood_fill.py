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

from m2n2.radix_sort import stable_order

UNSEEN = np.float32(-1.0)
WAITING = np.float32(-2.0)


@njit(nogil=True, cache=True)
def flood_fill(map_HW: np.ndarray, x: int, y: int) -> np.ndarray:
    """Flood `map_HW` (float32) from pixel (x, y): smallest threshold that joins each pixel to it, over the largest."""
    height, width = map_HW.shape
    n = height * width
    cost = np.abs(map_HW - map_HW[y, x]).reshape(n)
    order = stable_order(cost)
    rank = np.empty(n, np.int32)
    for k in range(n):
        rank[order[k]] = k
    waiting = np.zeros(n, np.bool_)
    flooded = np.full(n, UNSEEN, np.float32)
    stack = np.empty(n, np.int32)

    level = np.float32(0.0)
    start = y * width + x
    flooded[start] = level
    stack[0] = start
    height_of_stack = 1
    cursor = 0
    neighbours = np.empty(4, np.int64)
    while True:
        while height_of_stack > 0:
            height_of_stack -= 1
            pixel = np.int64(stack[height_of_stack])
            column = pixel % width
            neighbours[0] = pixel - 1 if column > 0 else -1
            neighbours[1] = pixel + 1 if column < width - 1 else -1
            neighbours[2] = pixel - width
            neighbours[3] = pixel + width if pixel + width < n else -1
            for k in range(4):
                near = neighbours[k]
                if near < 0 or flooded[near] != UNSEEN:
                    continue
                if cost[near] <= level:
                    flooded[near] = level
                    stack[height_of_stack] = near
                    height_of_stack += 1
                else:
                    flooded[near] = WAITING
                    waiting[rank[near]] = True
        while cursor < n and not waiting[cursor]:
            cursor += 1
        if cursor == n:
            break
        pixel = np.int64(order[cursor])
        cursor += 1
        level = cost[pixel]
        flooded[pixel] = level
        stack[0] = pixel
        height_of_stack = 1
    if level > 0:  # the last level is the largest
        flooded /= level
    return flooded.reshape(height, width)
