"""Gather the evidence for a mask, of the maps and the reading that it comes from.

Consensus tells most. The likelihood of a candidate is

    edge^0.3 · c^0.9 · exp(-3 b) · a^0.425 · exp(2.175 s)

edge  mean Sobel gradient of the map along its border, over the largest
c     how central the click is: the depth around it over the candidate's largest depth
b, a  share of the image's border, and of the image, that is inside
s     pixels up to 0.7 lambda over pixels up to 1.3 lambda

Shapes are measured on every n-th pixel, so that the time does not grow with the image. What else was measured, and told
nothing more, is in docs/quality.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from m2n2.confidence.evidence import Evidence
from m2n2.kernels.distance_transform import squared_depth
from m2n2.refined.central_threshold import binned_candidates
from m2n2.refined.clicked import MappedClick, Reading
from m2n2.settings import Settings

PIXELS = 40_000
EDGE, CENTRE, BORDER, AREA, STABILITY = 0.3, 0.9, -3.0, 0.425, 2.175
SMALLEST_EDGE, SMALLEST_CENTRE = 1e-3, 0.02


def gather_evidence(
    clicks: Sequence[MappedClick],
    reading: Reading,
    before: Reading | None,
    stability: float,
    rivals: Sequence[tuple[int, int]],
    settings: Settings,
) -> Evidence:
    """The evidence for one object's mask.

    Args:
        clicks: on the working image, one of them on the object.
        reading: what was read of all of them; the mask has a pixel.
        before: what was read of all but the last; None for a single click.
        stability: of the mask, see `m2n2.nearest_neighbour.stability`.
        rivals: (x, y) on the working image of every other object's first click.
        settings: the algorithm's constants.
    """
    step = max(1, round(math.sqrt(reading.mask_hw.size / PIXELS)))
    mask_hw = np.ascontiguousarray(reading.mask_hw[::step, ::step])
    first = next(click for click in clicks if click.label)
    x, y = first.x // step, first.y // step
    flooded_hw = np.ascontiguousarray(first.map.flooded_hw[::step, ::step])
    return Evidence(
        stability=float(stability),
        consensus=_consensus(mask_hw, flooded_hw, x, y, settings),
        centrality=_centrality(mask_hw, x, y),
        roundness=_roundness(mask_hw),
        correction=1.0 if before is None else _correction(mask_hw, before.mask_hw, clicks[-1], step),
        rivals=float(any(reading.mask_hw[y, x] for x, y in rivals)),
        clicks=len(clicks),
    )


def _consensus(mask_hw: np.ndarray, flooded_hw: np.ndarray, x: int, y: int, settings: Settings) -> float:
    binned = binned_candidates(flooded_hw, settings)
    if not len(binned.lambdas):
        return 0.0
    values, inside = np.sort(flooded_hw, axis=None), np.sort(flooded_hw[mask_hw])
    areas = np.searchsorted(values, binned.lambdas, "right")
    shared = np.searchsorted(inside, binned.lambdas, "right")
    overlaps = shared / (areas + inside.size - shared)
    smaller = np.searchsorted(values, np.float32(0.7) * binned.lambdas, "right")
    larger = np.searchsorted(values, np.float32(1.3) * binned.lambdas, "right")
    regions = [flooded_hw <= value for value in binned.lambdas]
    likelihoods = (
        EDGE * np.log(binned.edges + SMALLEST_EDGE)
        + CENTRE * np.log([_centrality(region_hw, x, y) for region_hw in regions])
        + BORDER * np.array([_share_of_border(region_hw) for region_hw in regions])
        + AREA * np.log(areas / flooded_hw.size)
        + STABILITY * smaller / larger
    )
    weights = np.exp(likelihoods - likelihoods.max())
    return float(weights @ overlaps / weights.sum())


def _centrality(region_hw: np.ndarray, x: int, y: int) -> float:
    """Also near a region: of every n-th pixel the click's may be just outside of it."""
    depth_hw = squared_depth(region_hw)
    here = int(depth_hw[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2].max())
    return max(SMALLEST_CENTRE, math.sqrt(here / max(1, int(depth_hw.max()))))


def _share_of_border(region_hw: np.ndarray) -> float:
    lines = (region_hw[0], region_hw[-1], region_hw[:, 0], region_hw[:, -1])
    return sum(int(np.count_nonzero(line)) for line in lines) / (2 * sum(region_hw.shape))


def _roundness(mask_hw: np.ndarray) -> float:
    padded = np.pad(mask_hw, 1)
    perimeter = np.count_nonzero(padded[1:] != padded[:-1]) + np.count_nonzero(padded[:, 1:] != padded[:, :-1])
    return float(4 * math.pi * np.count_nonzero(mask_hw) / max(1, int(perimeter)) ** 2)


def _correction(mask_hw: np.ndarray, before_HW: np.ndarray, click: MappedClick, step: int) -> float:
    before_hw = np.ascontiguousarray(before_HW[::step, ::step])
    depth_hw = squared_depth(~before_hw if click.label else before_hw)
    return math.sqrt(int(depth_hw[click.y // step, click.x // step]) / max(1, int(squared_depth(mask_hw).max())))
