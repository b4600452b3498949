"""From clicks to one object's mask as the paper does it: a threshold a point, then truncated nearest neighbour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from m2n2.flood_fill import difference, flood_fill
from m2n2.nearest_neighbour import mark_points, object_distance
from m2n2.refined.central_threshold import binned_candidates, central_candidates
from m2n2.settings import Settings
from m2n2.threshold import Candidates, point_threshold, scored_candidates


@dataclass(frozen=True)
class ClickMap:
    """What a click gives by itself, whatever the other clicks are.

    Attributes:
        flooded_hw: (h, w) float32 in 0..1.
        found: candidates with their scores, for the click's threshold.
        binned: few candidates with their edges, for the refined head; None where it takes no part.
    """

    flooded_hw: np.ndarray
    found: Candidates
    binned: Candidates | None

    @property
    def size_bytes(self) -> int:
        """Memory of its arrays, but for the few binned candidates."""
        return sum(array.nbytes for array in (self.flooded_hw, self.found.lambdas, self.found.edges))


@dataclass(frozen=True)
class MappedClick:
    """A click at pixel (x, y) of the working image, with its map."""

    x: int
    y: int
    label: bool
    map: ClickMap


@dataclass(frozen=True)
class Reading:
    """What was read of an object's clicks: the mask, (h, w) bool, and the threshold of each click."""

    mask_hw: np.ndarray
    thresholds: tuple[float, ...]


def click_map(map_hw: np.ndarray, x: int, y: int, settings: Settings) -> ClickMap:
    """Flood an upsampled map, (h, w) float32, from the click's pixel and find its candidates."""
    flooded_hw: np.ndarray = (flood_fill if settings.flood_fill else difference)(map_hw, x, y)
    if settings.threshold == "edge" and settings.more_clicks == "joint":
        return ClickMap(flooded_hw, scored_candidates(flooded_hw, settings), None)
    binned = binned_candidates(flooded_hw, settings)
    if settings.threshold == "edge":
        return ClickMap(flooded_hw, scored_candidates(flooded_hw, settings), binned)
    return ClickMap(flooded_hw, central_candidates(flooded_hw, binned, x, y, settings), binned)


def read_jointly(clicks: Sequence[MappedClick], settings: Settings) -> tuple[Reading, np.ndarray]:
    """All clicks at once (sections 7 and 8 of docs/algorithm.md).

    Returns:
        The reading, and each pixel's distance to the object, (h, w) float32.
    """
    labels = np.array([click.label for click in clicks])
    thresholds = []
    for click in clicks:
        values = np.array([click.map.flooded_hw[each.y, each.x] for each in clicks])
        own, other = values[labels == click.label], values[labels != click.label]
        thresholds.append(point_threshold(click.map.found, own, other, settings).value)
    distance_hw = object_distance([click.map.flooded_hw for click in clicks], thresholds, labels.tolist())
    mask_hw = distance_hw <= 1
    mark_points(mask_hw, [(click.x, click.y) for click in clicks], labels.tolist())
    return Reading(mask_hw, tuple(thresholds)), distance_hw
