"""The refined head's rule for the second click and later ones: change the mask around the click, leave the rest.

The mask after a click is made of the mask before it. Where that agrees with the click, it stays. Else there are two
proposals, and both change only the part around the click:

- the joint reading of all clicks (section 8 of docs/algorithm.md), if at least 70% of what it would change is one part
  that holds the click, and the click is at least as central in that part as in the other proposal;
- else a region of the click's own map: of its candidates' parts around the click, on pixels that are to change and are
  nearer to the click than to clicks of the other class, the one with the largest edge · c^2.

c, how central the click is, is the depth at the click over the part's largest depth. A person clicks in the middle of
what is wrong: parts with c below 0.4 are no proposals. Nearly all clicks that ruined a good mask were such parts.
Every click's pixel keeps its label.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from m2n2.kernels.component import component_at
from m2n2.nearest_neighbour import SMALLEST_THRESHOLD, mark_points
from m2n2.refined.centrality import centrality
from m2n2.refined.clicked import MappedClick, Reading

DOMINANT_SHARE = 0.7
LEAST_CENTRAL = 0.4
CENTRE = 2.0
SMALLEST_REGION = 1  # pixels around a click that change where nothing better is found


def edit(before: Reading, clicks: Sequence[MappedClick], joint: Reading) -> Reading:
    """The mask after the last of the clicks.

    Args:
        before: after all clicks but the last.
        clicks: in order.
        joint: the joint reading of all of them.
    """
    click = clicks[-1]
    if before.mask_hw[click.y, click.x] == click.label:
        return Reading(before.mask_hw, (*before.thresholds, joint.thresholds[-1]))
    region_hw, threshold, central = _own_region(before, clicks)
    changed_hw = joint.mask_hw != before.mask_hw
    around_hw = component_at(changed_hw, click.x, click.y)
    dominant = np.count_nonzero(around_hw) >= DOMINANT_SHARE * np.count_nonzero(changed_hw)
    if dominant and centrality(around_hw, click.x, click.y) >= max(central, LEAST_CENTRAL):
        mask_hw, thresholds = np.where(around_hw, joint.mask_hw, before.mask_hw), joint.thresholds
    else:
        mask_hw = before.mask_hw | region_hw if click.label else before.mask_hw & ~region_hw
        thresholds = (*before.thresholds, threshold)
    mark_points(mask_hw, [(each.x, each.y) for each in clicks], [each.label for each in clicks])
    return Reading(mask_hw, thresholds)


def _own_region(before: Reading, clicks: Sequence[MappedClick]) -> tuple[np.ndarray, float, float]:
    """(region, lambda, centrality) of the last click's own best region."""
    *earlier, click = clicks
    flooded_hw = click.map.flooded_hw
    other_hw = np.ones_like(flooded_hw)  # distance to the nearest click of the other class, at most 1
    limit = np.float32(np.inf)
    for each, threshold in zip(earlier, before.thresholds, strict=True):
        if each.label != click.label:
            limit = min(limit, flooded_hw[each.y, each.x])
            np.minimum(other_hw, each.map.flooded_hw / max(np.float32(threshold), SMALLEST_THRESHOLD), out=other_hw)
    may_change_hw = before.mask_hw != click.label
    best = _square(click, flooded_hw.shape), 0.0, 0.0
    best_score = 0.0
    binned = click.map.binned
    assert binned is not None, "a map that is edited has binned candidates"
    for value, edge in zip(binned.lambdas, binned.edges, strict=True):
        if value >= limit:
            break
        region_hw = component_at(may_change_hw & (flooded_hw <= value * other_hw), click.x, click.y)
        central = centrality(region_hw, click.x, click.y)
        if central >= LEAST_CENTRAL and edge * central**CENTRE > best_score:
            best, best_score = (region_hw, float(value), central), edge * central**CENTRE
    return best


def _square(click: MappedClick, size: tuple[int, ...]) -> np.ndarray:
    square_hw = np.zeros(size, np.bool_)
    rows = slice(max(0, click.y - SMALLEST_REGION), click.y + SMALLEST_REGION + 1)
    square_hw[rows, max(0, click.x - SMALLEST_REGION) : click.x + SMALLEST_REGION + 1] = True
    return square_hw
