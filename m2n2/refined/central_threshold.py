"""The refined head's candidates and their score: few candidates, and more evidence on each than the map's edge.

Of all prefixes of the pixels in order of their value, the one with the strongest edge is kept in each of 24 bins of
equal ratio of areas. A kept candidate up to the prior's share of the image scores

    edge · c^0.5 · exp(-6 b)

edge  mean Sobel gradient of the map along its border, over the largest, as in section 7 of docs/algorithm.md
c     how central the click is in the candidate
b     share of the image's border that is inside

A segment that is much too large for its object, such as the wall behind it, reaches the image's border; objects seldom
do. c is mild, so that clicks off the centre gain as well. How large and how stable a candidate is gained nothing that
held on photos that were left out (docs/quality.md).
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from m2n2.refined.centrality import centrality
from m2n2.settings import Settings
from m2n2.threshold import Candidates, candidates

BINS = 24
SMALLEST_SHARE, LARGEST_SHARE = 2e-4, 0.9
SMALLEST_PIXELS = 6
CENTRE, BORDER = 0.5, 6.0


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
    values = np.sort(flooded_HW, axis=None)
    rim = np.concatenate([flooded_HW[0], flooded_HW[-1], flooded_HW[:, 0], flooded_HW[:, -1]])
    sizes = np.searchsorted(values, binned.lambdas, side="right")
    shares = np.searchsorted(np.sort(rim), binned.lambdas, side="right") / len(rim)
    kept = sizes <= settings.prior_max_share * values.size
    lambdas = binned.lambdas[kept]
    central = np.array([centrality(flooded_HW <= value, x, y) for value in lambdas])
    scores = binned.edges[kept] * central**CENTRE * np.exp(-BORDER * shares[kept])
    return Candidates(lambdas, scores.astype(np.float32), binned.map_maximum)
