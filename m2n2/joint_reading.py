"""From clicks to one object's mask as the paper does it: a threshold a point, then truncated nearest neighbour."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from m2n2.flood_fill import difference, flood_fill
from m2n2.nearest_neighbour import mark_points, object_distance
from m2n2.refined.box import BoxOnGrid
from m2n2.refined.central_threshold import binned_candidates, central_candidates
from m2n2.refined.clicked import ClickMap, MappedClick, Reading
from m2n2.settings import Settings
from m2n2.threshold import point_threshold, scored_candidates


def click_map(map_hw: np.ndarray, x: int, y: int, settings: Settings) -> ClickMap:
    """Flood an upsampled map, (h, w) float32, from the click's pixel and find its candidates."""
    flooded_hw: np.ndarray = (flood_fill if settings.flood_fill else difference)(map_hw, x, y)
    if settings.threshold == "edge" and settings.more_clicks == "joint":
        return ClickMap(flooded_hw, scored_candidates(flooded_hw, settings), None)
    binned = binned_candidates(flooded_hw, settings)
    if settings.threshold == "edge":
        return ClickMap(flooded_hw, scored_candidates(flooded_hw, settings), binned)
    return ClickMap(flooded_hw, central_candidates(flooded_hw, binned, x, y, settings), binned)


def read_jointly(
    clicks: Sequence[MappedClick], settings: Settings, box: BoxOnGrid | None = None
) -> tuple[Reading, np.ndarray]:
    """All clicks at once (sections 7 and 8 of docs/algorithm.md).

    Args:
        box: beyond which nothing is the object.

    Returns:
        The reading, and each pixel's distance to the object, (h, w) float32.
    """
    labels = np.array([click.label for click in clicks])
    thresholds = []
    for click in clicks:
        values = np.array([click.map.flooded_hw[each.y, each.x] for each in clicks])
        own, other = values[labels == click.label], values[labels != click.label]
        found = click.map.found
        if box is not None and click.label:
            found = box.weighted(found, click.map.flooded_hw)
        thresholds.append(point_threshold(found, own, other, settings).value)
    distance_hw = object_distance([click.map.flooded_hw for click in clicks], thresholds, labels.tolist())
    if box is not None:
        box.clear_beyond(distance_hw, np.inf)
    mask_hw = distance_hw <= 1
    mark_points(mask_hw, [(click.x, click.y) for click in clicks], labels.tolist())
    return Reading(mask_hw, tuple(thresholds)), distance_hw
