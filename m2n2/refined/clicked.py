"""Clicks with their maps, and what is read of them: the values that the paper's head and the refined one share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from m2n2.threshold import Candidates


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
