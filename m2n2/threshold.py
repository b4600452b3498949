"""Threshold of one point's flooded map (section 7 of docs/algorithm.md; the paper's "segment scoring").

Every prefix of the pixels in order of their value is a candidate segment, lambda being its last value. The candidate
with the largest product of four factors wins, the first of equals:

    prior     1 for the first `prior_max_share` of the candidates, else 0
    edge      mean, over the pixels just outside the candidate, of the map's Sobel gradient, quantised to integers
    positive  share of the points of the point's own class with values <= lambda
    negative  1 if lambda is below every value of the other class's points and below the map's maximum, else 0

`Settings.score` can leave factors out. The first two depend on the map alone and are kept (`candidates`); the others
change with every click (`best_threshold`).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from m2n2.kernels.largest import largest
from m2n2.kernels.radix_sort import lowest_order
from m2n2.settings import Settings

NEVER = np.uint32(2**32 - 1)


class Candidates(NamedTuple):
    """The K candidates that pass the prior, in order: lambda and mean edge of each (float32)."""

    lambdas: np.ndarray
    edges: np.ndarray
    map_maximum: float


class Threshold(NamedTuple):
    """The winning lambda, the product of its four factors, and its place among the candidates (-1: there are none)."""

    value: float
    score: float
    candidate: int


def scored_candidates(flooded_HW: np.ndarray, settings: Settings) -> Candidates:
    """The candidates of a flooded map (float32 in 0..1) with the factors that depend on the map alone."""
    score = settings.score
    share = settings.prior_max_share if score.prior else 2.0
    found: Candidates = candidates(flooded_HW, share, settings.edge_levels)
    if not score.edge:
        found = found._replace(edges=np.ones_like(found.edges))
    return found if score.negative else found._replace(map_maximum=math.inf)


def point_threshold(
    found: Candidates, own_values: np.ndarray, other_values: np.ndarray, settings: Settings
) -> Threshold:
    """The best candidate, given the map's values (float32) at the points of its own class and of the other."""
    none = np.empty(0, np.float32)
    own_sorted = np.sort(own_values) if settings.score.positive else none
    best: Threshold = best_threshold(found, own_sorted, other_values if settings.score.negative else none)
    return best


@njit(nogil=True, cache=True)
def candidates(flooded_HW: np.ndarray, prior_max_share: float, edge_levels: int) -> Candidates:
    """The candidates of a flooded map (float32 in 0..1) and the mean edge along each one's outer border.

    A pixel is on the border from the first of its neighbours' ranks until its own. So one look at each pixel tells at
    which ranks it comes and goes, and the sums along all borders follow by adding up.
    """
    flat = flooded_HW.reshape(flooded_HW.size)
    passing = _count_passing(flat.size - 1, prior_max_share)
    order = lowest_order(flat, passing)[:passing]
    edges = _mean_edges(_ranks(order, flooded_HW.shape), _quantised_gradient(flooded_HW, edge_levels), passing)
    return Candidates(flat[order], edges, np.float64(largest(flat)))


@njit(nogil=True, cache=True)
def best_threshold(found: Candidates, own_sorted: np.ndarray, other_values: np.ndarray) -> Threshold:
    """The best candidate, given the map's values (float32) at the points of its own class, sorted, and of the other.

    Without values of its own class their share is 1; without values of the other only the map's maximum limits lambda.
    """
    lambdas, edges = found.lambdas, found.edges
    if lambdas.size == 0:
        return Threshold(0.0, 0.0, -1)
    limit = found.map_maximum
    for value in other_values:
        limit = min(limit, value)
    winner = 0
    best_score = 0.0
    reached = 0
    for k in range(lambdas.size):
        if lambdas[k] >= limit:
            break
        while reached < own_sorted.size and own_sorted[reached] <= lambdas[k]:
            reached += 1
        score = edges[k] * (reached / own_sorted.size if own_sorted.size else 1.0)
        if score > best_score:
            best_score = score
            winner = k
    return Threshold(np.float64(lambdas[winner]), best_score, winner)


@njit(nogil=True, cache=True)
def _count_passing(total: int, prior_max_share: float) -> int:
    """How many of `total` ranks, spaced evenly from 0 to 1, lie below the prior's limit."""
    passing = 0
    if total == 1:
        return 1
    passing = min(total, int(prior_max_share * (total - 1)) + 2)
    while passing > 0 and (passing - 1) / (total - 1) >= prior_max_share:
        passing -= 1
    return passing


@njit(nogil=True, cache=True)
def _ranks(order: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Each pixel's place in the order, NEVER where it has none; with a margin, so that all have four neighbours."""
    width = np.uint32(size[1])
    rank_YX = np.full((size[0] + 2, size[1] + 2), NEVER, np.uint32)
    for k in range(order.size):
        pixel = np.uint32(order[k])  # dividing numbers of 32 bits takes half as long
        row = pixel // width
        rank_YX[row + np.uint32(1), pixel - row * width + np.uint32(1)] = k
    return rank_YX


@njit(nogil=True, cache=True)
def _mean_edges(rank_YX: np.ndarray, gradient_HW: np.ndarray, passing: int) -> np.ndarray:
    """Mean gradient along the outer border of the pixels up to each rank below `passing`."""
    height, width = gradient_HW.shape
    # At each rank, what its pixel changes: the sum of the border's gradients, and its number of pixels.
    sum_change = np.zeros(passing + 1, np.int64)
    count_change = np.zeros(passing + 1, np.int32)
    first_W = np.empty(width, np.uint32)
    for y in range(height):
        own_W, gradient_W = rank_YX[y + 1, 1:-1], gradient_HW[y]
        _smallest(rank_YX[y, 1:-1], rank_YX[y + 2, 1:-1], rank_YX[y + 1, :-2], rank_YX[y + 1, 2:], first_W)
        for x in range(width):
            comes = first_W[x]
            if comes < own_W[x]:
                goes = min(own_W[x], np.uint32(passing))
                sum_change[comes] += gradient_W[x]
                count_change[comes] += 1
                sum_change[goes] -= gradient_W[x]
                count_change[goes] -= 1
    edges = np.empty(passing, np.float32)
    border_sum, border_count = np.int64(0), np.int64(0)
    for k in range(passing):
        border_sum += sum_change[k]
        border_count += count_change[k]
        edges[k] = border_sum / border_count  # never 0: a candidate is not the whole image
    return edges


@njit(nogil=True, cache=True)
def _smallest(a_W: np.ndarray, b_W: np.ndarray, c_W: np.ndarray, d_W: np.ndarray, smallest_W: np.ndarray) -> None:
    for x in range(smallest_W.size):
        smallest_W[x] = min(min(a_W[x], b_W[x]), min(c_W[x], d_W[x]))


@njit(nogil=True, cache=True)
def _quantised_gradient(map_HW: np.ndarray, levels: int) -> np.ndarray:
    """Sobel gradient magnitude (3x3, borders mirrored), scaled to integers 0..levels; (H, W) int32."""
    height, width = map_HW.shape
    magnitude_HW = np.empty((height, width), np.float32)
    for y in range(height):
        # Mirrored without repeating the border; a single row or column is its own neighbour, hence without gradient.
        above = map_HW[abs(y - 1) if height > 1 else 0]
        here = map_HW[y]
        below = map_HW[height - 1 - abs(height - 2 - y) if height > 1 else 0]
        magnitude = magnitude_HW[y]
        _sobel(
            above[:-2], above[1:-1], above[2:], here[:-2], here[2:], below[:-2], below[1:-1], below[2:], magnitude[1:]
        )
        for x in (0, width - 1):
            left = abs(x - 1) if width > 1 else 0
            right = width - 1 - abs(width - 2 - x) if width > 1 else 0
            magnitude[x] = _magnitude(
                above[left], above[x], above[right], here[left], here[right], below[left], below[x], below[right]
            )
    steepest = largest(magnitude_HW.reshape(height * width))
    quantised_HW = np.zeros((height, width), np.int32)
    if steepest > 0:
        for y in range(height):
            for x in range(width):
                quantised_HW[y, x] = np.int32(levels * magnitude_HW[y, x] / steepest)
    return quantised_HW


@njit(nogil=True, cache=True)
def _sobel(
    a: np.ndarray,
    b: np.ndarray,
    c: np.ndarray,
    d: np.ndarray,
    e: np.ndarray,
    f: np.ndarray,
    g: np.ndarray,
    h: np.ndarray,
    magnitude: np.ndarray,
) -> None:
    """Magnitudes of a row but for its ends. One-dimensional arrays throughout, or the loop is not vectorised."""
    for x in range(a.size):
        magnitude[x] = _magnitude(a[x], b[x], c[x], d[x], e[x], f[x], g[x], h[x])


@njit(nogil=True, cache=True, inline="always")
def _magnitude(
    above_left: np.float32,
    above: np.float32,
    above_right: np.float32,
    left: np.float32,
    right: np.float32,
    below_left: np.float32,
    below: np.float32,
    below_right: np.float32,
) -> np.float32:
    across = (above_right - above_left) + 2 * (right - left) + (below_right - below_left)
    down = (below_left - above_left) + 2 * (below - above) + (below_right - above_right)
    magnitude: np.float32 = np.sqrt(np.float32(across * across + down * down))
    return magnitude
