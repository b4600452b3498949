"""Smoothing a mask along the chain: each cell takes the mean label of the cells that are like it.

    v = P m,  m the mask averaged to the grid, cells of clicks at their labels

v is brought to the image's size by the joint bilateral upsampling (section 5 of docs/algorithm.md); foreground is where
it is above one half. Parts that a map left out are filled, and borders follow the image. Where that would overturn the
mask rather than smooth it, the mask stays: if less than 70% of what the last click changed survives, or the two masks
have an IoU below 0.8. After the first click, only pixels up to 1.5 cells from what the click changed may follow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from m2n2.kernels.distance_transform import squared_depth
from m2n2.nearest_neighbour import mark_points
from m2n2.refined.clicked import MappedClick, Reading
from m2n2.refined.key_affinity import SpectralChain
from m2n2.settings import Settings
from m2n2.upsampling import weighted_means

REACH_CELLS = 1.5
SMALLEST_IOU = 0.8
SURVIVING_SHARE = 0.7


@dataclass(frozen=True)
class Smoother:
    """Smooths masks of one image.

    Attributes:
        chain: of the image's keys.
        grid: (rows, columns) of its cells.
        image_hw3: the working image, uint8.
        settings: of the upsampling.
    """

    chain: SpectralChain
    grid: tuple[int, int]
    image_hw3: np.ndarray
    settings: Settings

    def smooth(self, before: Reading | None, after: Reading, clicks: Sequence[MappedClick]) -> Reading:
        """The reading after the last click, its mask smoothed where that holds.

        Args:
            before: the reading before the last click; None if the whole mask is new.
            after: the reading after it.
            clicks: all of them.
        """
        changed_hw = after.mask_hw if before is None else after.mask_hw != before.mask_hw
        if not changed_hw.any():
            return after
        smooth_hw = self._means(after.mask_hw, clicks) > 0.5
        mark_points(smooth_hw, [(each.x, each.y) for each in clicks], [each.label for each in clicks])
        either, both = smooth_hw | after.mask_hw, smooth_hw & after.mask_hw
        survives = (smooth_hw == after.mask_hw)[changed_hw].mean() >= SURVIVING_SHARE
        if not survives or np.count_nonzero(both) < SMALLEST_IOU * np.count_nonzero(either):
            return after
        if before is None:
            return Reading(smooth_hw, after.thresholds)
        return Reading(np.where(self._near(changed_hw), smooth_hw, after.mask_hw), after.thresholds)

    def _near(self, changed_hw: np.ndarray) -> np.ndarray:
        """Which pixels are changed, or near one that is."""
        reach = REACH_CELLS * math.sqrt(changed_hw.size / (self.grid[0] * self.grid[1]))
        margin = math.ceil(reach) + 1  # beyond the image nothing changed
        distance = squared_depth(np.pad(~changed_hw, margin, constant_values=True))
        return distance[margin:-margin, margin:-margin] <= reach**2

    def _means(self, mask_hw: np.ndarray, clicks: Sequence[MappedClick]) -> np.ndarray:
        """`P m` at the size of the image: (h, w) float32 of about 0..1."""
        vectors_NR = self.chain.vectors
        labels = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(mask_hw).float()[None], self.grid)[0]
        height, width = mask_hw.shape
        for each in clicks:
            labels[each.y * self.grid[0] // height, each.x * self.grid[1] // width] = float(each.label)
        means_N = vectors_NR @ (self.chain.values * (labels.flatten().to(vectors_NR) @ vectors_NR))
        means_hw: np.ndarray = weighted_means(means_N.reshape(1, *self.grid), self.image_hw3, self.settings)[0]
        return means_hw
