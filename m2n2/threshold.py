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

from m2n2.kernels.four_neighbours import four_neighbours
from m2n2.kernels.radix_sort import stable_order
from m2n2.settings import Settings

OUTSIDE, BORDER, INSIDE = 0, 1, 2


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
    """The candidates of a flooded map (float32 in 0..1) and the mean edge along each one's outer border."""
    height, width = flooded_HW.shape
    n = height * width
    passing = _count_passing(n - 1, prior_max_share)
    lambdas = np.empty(passing, np.float32)
    edges = np.empty(passing, np.float32)
    flat = flooded_HW.reshape(n)
    order = stable_order(flat)
    gradient = _quantised_gradient(flooded_HW, edge_levels).reshape(n)
    state = np.full(n, OUTSIDE, np.uint8)
    border_sum = np.int64(0)
    border_count = np.int64(0)
    neighbours = np.empty(4, np.int64)
    for k in range(passing):
        pixel = np.int64(order[k])
        if state[pixel] == BORDER:
            border_sum -= gradient[pixel]
            border_count -= 1
        state[pixel] = INSIDE
        four_neighbours(pixel, width, n, neighbours)
        for near in neighbours:
            if near >= 0 and state[near] == OUTSIDE:
                state[near] = BORDER
                border_sum += gradient[near]
                border_count += 1
        lambdas[k] = flat[pixel]
        edges[k] = border_sum / border_count  # never 0: a candidate is not the whole image
    return Candidates(lambdas, edges, flat[order[n - 1]])


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
def _quantised_gradient(map_HW: np.ndarray, levels: int) -> np.ndarray:
    """Sobel gradient magnitude (3x3, borders mirrored), scaled to integers 0..levels; (H, W) int32."""
    height, width = map_HW.shape
    magnitude = np.empty((height, width), np.float32)
    largest = np.float32(0.0)
    for y in range(height):
        # Mirrored without repeating the border; a single row or column is its own neighbour, hence without gradient.
        above = map_HW[abs(y - 1) if height > 1 else 0]
        here = map_HW[y]
        below = map_HW[height - 1 - abs(height - 2 - y) if height > 1 else 0]
        for x in range(width):
            left = abs(x - 1) if width > 1 else 0
            right = width - 1 - abs(width - 2 - x) if width > 1 else 0
            across = (above[right] - above[left]) + 2 * (here[right] - here[left]) + (below[right] - below[left])
            down = (below[left] - above[left]) + 2 * (below[x] - above[x]) + (below[right] - above[right])
            value = np.sqrt(np.float32(across * across + down * down))
            magnitude[y, x] = value
            largest = max(largest, value)
    quantised = np.zeros((height, width), np.int32)
    if largest > 0:
        for y in range(height):
            for x in range(width):
                quantised[y, x] = np.int32(levels * magnitude[y, x] / largest)
    return quantised
