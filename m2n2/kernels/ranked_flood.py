"""Flood fill in the order of ranks: exact, and linear in the number of pixels whatever their values are.

This is Prim's algorithm with the pixels' ranks for a queue: all pixels are sorted by their cost once, a waiting pixel
is a mark at its rank, and the next pixel is found by a cursor over the ranks. The cursor never goes back, since what is
at or below the current level is flooded at once by a plain stack.
"""

from __future__ import annotations

import numpy as np

from m2n2.kernels.compiled import compiled
from m2n2.kernels.four_neighbours import four_neighbours
from m2n2.kernels.radix_sort import stable_order

UNSEEN = np.float32(-1.0)
WAITING = np.float32(-2.0)


def ranked_flood(cost_HW: np.ndarray, x: int, y: int) -> np.ndarray:
    """Smallest over all paths from pixel (x, y) of the largest cost on the path; (H, W) float32 of at least 0 each."""
    height, width = cost_HW.shape
    n = height * width
    order = stable_order(cost_HW.reshape(n))
    rank = np.empty(n, np.int32)
    rank[order] = np.arange(n, dtype=np.int32)
    waiting = np.zeros(n, np.bool_)  # by rank
    flooded = np.full(n, UNSEEN, np.float32)
    _flood(cost_HW.reshape(n), order, rank, waiting, np.empty(n, np.int32), y * width + x, width, flooded)
    return flooded.reshape(height, width)


@compiled()
def _flood(
    cost: np.ndarray,
    order: np.ndarray,
    rank: np.ndarray,
    waiting: np.ndarray,
    stack: np.ndarray,
    next_pixel: np.int64,
    width: int,
    flooded: np.ndarray,
) -> None:
    n = cost.size
    neighbours = np.empty(4, np.int64)
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
            return
        next_pixel = np.int64(order[cursor])
        cursor += 1
