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

from m2n2.kernels.compiled import compiled
from m2n2.kernels.radix_sort import lowest_order
from m2n2.settings import Settings

NEVER = np.uint32(2**32 - 1)  # the rank of a pixel that has none


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
    found = candidates(flooded_HW, share, settings.edge_levels)
    if not score.edge:
        found = found._replace(edges=np.ones_like(found.edges))
    return found if score.negative else found._replace(map_maximum=math.inf)


def point_threshold(
    found: Candidates, own_values: np.ndarray, other_values: np.ndarray, settings: Settings
) -> Threshold:
    """The best candidate, given the map's values (float32) at the points of its own class and of the other."""
    none = np.empty(0, np.float32)
    own_sorted = np.sort(own_values) if settings.score.positive else none
    return best_threshold(found, own_sorted, other_values if settings.score.negative else none)


def candidates(flooded_HW: np.ndarray, prior_max_share: float, edge_levels: int) -> Candidates:
    """The candidates of a flooded map (float32 in 0..1) and the mean edge along each one's outer border."""
    flat = flooded_HW.reshape(flooded_HW.size)
    passing = _count_passing(flat.size - 1, prior_max_share)
    order = lowest_order(flat, passing)[:passing]
    edges = _mean_edges(_ranks(order, flooded_HW.shape), _quantised_gradient(flooded_HW, edge_levels), passing)
    return Candidates(flat[order], edges, float(flat.max()))


def best_threshold(found: Candidates, own_sorted: np.ndarray, other_values: np.ndarray) -> Threshold:
    """The best candidate, given the map's values (float32) at the points of its own class, sorted, and of the other.

    Without values of its own class their share is 1; without values of the other only the map's maximum limits lambda.
    """
    lambdas, edges = found.lambdas, found.edges
    if lambdas.size == 0:
        return Threshold(0.0, 0.0, -1)
    limit = min(found.map_maximum, float(other_values.min(initial=np.inf)))
    below = int(np.searchsorted(lambdas, np.float32(limit)))
    if own_sorted.size:
        # From one of these candidates to the next as many points are reached, so that the edges decide.
        starts = np.minimum(below, np.searchsorted(lambdas, own_sorted)).tolist()
        shares = [(number + 1) / own_sorted.size for number in range(own_sorted.size)]
    else:
        starts, shares = [0], [1.0]
    best = Threshold(float(lambdas[0]), 0.0, 0)
    for first, end, share in zip(starts, [*starts[1:], below], shares, strict=True):
        if first < end:
            k = first + int(edges[first:end].argmax())
            score = float(edges[k]) * share
            if score > best.score:
                best = Threshold(float(lambdas[k]), score, k)
    return best


def _count_passing(total: int, prior_max_share: float) -> int:
    """How many of `total` ranks, spaced evenly from 0 to 1, lie below the prior's limit."""
    if total == 1:
        return 1
    passing = min(total, int(prior_max_share * (total - 1)) + 2)
    while passing > 0 and (passing - 1) / (total - 1) >= prior_max_share:
        passing -= 1
    return passing


def _ranks(order: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Each pixel's place in the order, NEVER where it has none; with a margin, so that all have four neighbours."""
    rank_YX = np.full((size[0] + 2, size[1] + 2), NEVER, np.uint32)
    _write_ranks(order, rank_YX)
    return rank_YX


@compiled()
def _write_ranks(order: np.ndarray, rank_YX: np.ndarray) -> None:
    width = np.uint32(rank_YX.shape[1] - 2)
    for k in range(order.size):
        pixel = np.uint32(order[k])  # dividing numbers of 32 bits takes half as long
        row = pixel // width
        rank_YX[row + np.uint32(1), pixel - row * width + np.uint32(1)] = k


def _mean_edges(rank_YX: np.ndarray, gradient_HX: np.ndarray, passing: int) -> np.ndarray:
    """Mean gradient along the outer border of the pixels up to each rank below `passing`.

    A pixel is on the border from the first of its neighbours' ranks until its own. So one look at each pixel tells at
    which ranks it comes and goes, and the sums along all borders follow by adding up.
    """
    # At each rank, what its pixel changes: the sum of the border's gradients, and its number of pixels.
    sum_change, count_change = np.zeros(passing + 1, np.int64), np.zeros(passing + 1, np.int32)
    edges = np.empty(passing, np.float32)
    first_W = np.empty(rank_YX.shape[1] - 2, np.uint32)
    _add_up(rank_YX, gradient_HX, sum_change, count_change, first_W, edges)
    return edges


@compiled()
def _add_up(
    rank_YX: np.ndarray,
    gradient_HX: np.ndarray,
    sum_change: np.ndarray,
    count_change: np.ndarray,
    first_W: np.ndarray,
    edges: np.ndarray,
) -> None:
    passing = np.uint32(edges.size)
    for y in range(rank_YX.shape[0] - 2):
        own_W, gradient_X = rank_YX[y + 1, 1:-1], gradient_HX[y]
        _smallest(rank_YX[y, 1:-1], rank_YX[y + 2, 1:-1], rank_YX[y + 1, :-2], rank_YX[y + 1, 2:], first_W)
        for x in range(first_W.size):
            comes = first_W[x]
            if comes < own_W[x]:
                goes = min(own_W[x], passing)
                sum_change[comes] += gradient_X[x]
                count_change[comes] += 1
                sum_change[goes] -= gradient_X[x]
                count_change[goes] -= 1
    border_sum, border_count = np.int64(0), np.int64(0)
    for k in range(edges.size):
        border_sum += sum_change[k]
        border_count += count_change[k]
        edges[k] = border_sum / border_count  # never 0: a candidate is not the whole image


@compiled()
def _smallest(a_W: np.ndarray, b_W: np.ndarray, c_W: np.ndarray, d_W: np.ndarray, smallest_W: np.ndarray) -> None:
    for x in range(smallest_W.size):
        smallest_W[x] = min(min(a_W[x], b_W[x]), min(c_W[x], d_W[x]))


def _quantised_gradient(map_HW: np.ndarray, levels: int) -> np.ndarray:
    """Sobel gradient magnitude (3x3, borders mirrored), scaled to integers 0..levels.

    Returns:
        (H, W + 2) int32; the last two columns mean nothing.
    """
    height, width = map_HW.shape
    # Mirrored without repeating the border; a single row or column is its own neighbour, hence without gradient.
    around = np.pad(map_HW, 1, mode="reflect").reshape(-1)
    magnitude_HX = np.zeros((height, width + 2), np.float32)
    _sobel(around, width + 2, magnitude_HX.reshape(-1))
    steepest = magnitude_HX[:, :width].max()
    quantised_HX = np.zeros(magnitude_HX.shape, np.int32)
    if steepest > 0:
        _quantise(magnitude_HX.reshape(-1), np.float32(steepest), levels, quantised_HX.reshape(-1))
    return quantised_HX


@compiled()
def _sobel(around: np.ndarray, stride: int, magnitude: np.ndarray) -> None:
    """Magnitudes of all rows as one, ends of rows included. One-dimensional arrays, or the loop is not vectorised."""
    count = magnitude.size - 2
    above, here, below = around[:-2], around[stride:-2], around[2 * stride :]
    for x in range(count):
        above_left, above_right = above[x], above[x + 2]
        below_left, below_right = below[x], below[x + 2]
        across = (above_right - above_left) + 2 * (here[x + 2] - here[x]) + (below_right - below_left)
        down = (below_left - above_left) + 2 * (below[x + 1] - above[x + 1]) + (below_right - above_right)
        magnitude[x] = np.sqrt(np.float32(across * across + down * down))


@compiled()
def _quantise(magnitude: np.ndarray, steepest: np.float32, levels: int, quantised: np.ndarray) -> None:
    for x in range(quantised.size):
        quantised[x] = np.int32(levels * magnitude[x] / steepest)
