"""The refined head's candidates and their score: few candidates, and more evidence on each than the map's edge.

Of all prefixes of the pixels in order of their value, the one with the strongest edge is kept in each of 24 bins of
equal ratio of areas. A kept candidate up to the prior's share of the image scores

    edge^0.6 · c^1.8 · exp(-6 b) · a^0.85 · exp(4.35 s)

edge  mean Sobel gradient of the map along its border, over the largest, as in section 7 of docs/algorithm.md
c     how central the click is: the depth at the click (3 x 3 pixels) over the candidate's largest depth, in pixels
b     share of the image's border that is inside
a     share of the image that is inside
s     stability: pixels up to 0.7 lambda over pixels up to 1.3 lambda

The exponents were fitted on the even photos of GrabCut and a quarter of 20 COCO photos (docs/quality.md).
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from m2n2.kernels.distance_transform import squared_depth
from m2n2.settings import Settings
from m2n2.threshold import Candidates, candidates

BINS = 24
SMALLEST_SHARE, LARGEST_SHARE = 2e-4, 0.9
SMALLEST_PIXELS = 6
EDGE, CENTRE, BORDER, AREA, STABILITY = 0.6, 1.8, -6.0, 0.85, 4.35
SMALLEST_EDGE, SMALLEST_CENTRE = 1e-3, 0.02


def binned_candidates(flooded_HW: np.ndarray, settings: Settings) -> Candidates:
    """At most 24 candidates in order of lambda, with their mean edge in 0..1; the whole image is not among them."""
    every: Candidates = candidates(flooded_HW, 2.0, settings.edge_levels)
    pixels = flooded_HW.size
    smallest = max(SMALLEST_PIXELS / pixels, SMALLEST_SHARE)
    limits = np.geomspace(smallest, max(smallest, LARGEST_SHARE), BINS + 1) * pixels
    bounds = np.minimum(limits.astype(np.int64), len(every.lambdas))
    kept = [first + int(np.argmax(every.edges[first:last])) for first, last in pairwise(bounds) if first < last]
    lambdas, places = np.unique(every.lambdas[kept], return_index=True)
    edges = every.edges[kept][places] / np.float32(settings.edge_levels)
    return Candidates(lambdas.astype(np.float32), edges.astype(np.float32), every.map_maximum)


def central_candidates(flooded_HW: np.ndarray, binned: Candidates, x: int, y: int, settings: Settings) -> Candidates:
    """The binned candidates up to the prior's share, with their score in place of the edge: for `best_threshold`."""
    sizes = [np.count_nonzero(flooded_HW <= value) for value in binned.lambdas]
    kept = [k for k, size in enumerate(sizes) if size <= settings.prior_max_share * flooded_HW.size]
    scores = [_score(flooded_HW, binned.lambdas[k], binned.edges[k], x, y) for k in kept]
    return Candidates(binned.lambdas[kept], np.array(scores, np.float32), binned.map_maximum)


def centrality(region_HW: np.ndarray, x: int, y: int) -> float:
    """The depth around pixel (x, y) over the largest depth of the region, 0.02 to 1."""
    depth_HW = squared_depth(region_HW)
    here = depth_HW[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2].max()
    return max(SMALLEST_CENTRE, math.sqrt(int(here) / max(1, int(depth_HW.max()))))


def _score(flooded_HW: np.ndarray, value: float, edge: float, x: int, y: int) -> float:
    inside_HW = flooded_HW <= value
    rim = sum(np.count_nonzero(line) for line in (inside_HW[0], inside_HW[-1], inside_HW[:, 0], inside_HW[:, -1]))
    border = rim / (2 * sum(inside_HW.shape))
    area = np.count_nonzero(inside_HW) / inside_HW.size
    stable = np.count_nonzero(flooded_HW <= 0.7 * value) / max(1, int(np.count_nonzero(flooded_HW <= 1.3 * value)))
    powers = EDGE * math.log(edge + SMALLEST_EDGE) + CENTRE * math.log(centrality(inside_HW, x, y))
    return math.exp(powers + BORDER * border + AREA * math.log(area) + STABILITY * stable)
