"""Where the simulated person clicks next, given the truth and the current mask.

published   the wrong pixel furthest from any right pixel, false positives and false negatives in one map
components  the same with the two kinds of error in maps of their own, of which the deeper one is clicked, as the code
            of RITM does (Sofiiuk et al., "Reviving Iterative Training with Mask Guidance", 2021)

The image is surrounded by right pixels, equals are decided by row order, and the click takes the truth's label. The
first click is the same rule with nothing marked yet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from m2n2.kernels.distance_transform import squared_depth

DRAWS = 100


@dataclass(frozen=True)
class Click:
    """A click on pixel (x, y), True on the object."""

    x: int
    y: int
    label: bool


@dataclass(frozen=True)
class ClickRule:
    """How clicks are placed.

    Attributes:
        protocol: "published" or "components", see above.
        noise: 0 clicks the ideal pixel. Above 0 the click is off by a normal deviate in x and in y, whose standard
            deviation is this share of the ideal pixel's distance to the error's border. It stays on wrong pixels of
            the same label: deviates that leave them are drawn again, and after 100 the ideal pixel is taken.
        seed: of the deviates.
    """

    protocol: Literal["published", "components"] = "published"
    noise: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.protocol not in ("published", "components"):
            raise ValueError(f"protocol is {self.protocol!r}, allowed: published, components")
        if not 0 <= self.noise < float("inf"):
            raise ValueError(f"noise is {self.noise!r}, allowed: a finite number of at least 0")


def next_click(
    truth_HW: np.ndarray, mask_HW: np.ndarray, rule: ClickRule, random: np.random.Generator | None = None
) -> Click | None:
    """The next click, or None where the mask is the truth.

    Args:
        truth_HW, mask_HW: (H, W) bool.
        rule: how clicks are placed.
        random: source of the noise; needed only where there is noise.
    """
    wrong_HW = truth_HW != mask_HW
    if not wrong_HW.any():
        return None
    if rule.protocol == "published":
        depth_HW = squared_depth(wrong_HW)
    else:
        missed_HW, extra_HW = squared_depth(wrong_HW & truth_HW), squared_depth(wrong_HW & ~truth_HW)
        depth_HW = missed_HW if missed_HW.max() > extra_HW.max() else extra_HW
    y, x = (int(i) for i in np.unravel_index(np.argmax(depth_HW), depth_HW.shape))
    if rule.noise:
        if random is None:
            raise ValueError("clicks with noise need a source of random numbers")
        x, y = _moved(x, y, wrong_HW & (truth_HW == truth_HW[y, x]), rule.noise * float(depth_HW[y, x]) ** 0.5, random)
    return Click(x, y, bool(truth_HW[y, x]))


def _moved(x: int, y: int, allowed_HW: np.ndarray, sigma: float, random: np.random.Generator) -> tuple[int, int]:
    height, width = allowed_HW.shape
    for dx, dy in np.rint(random.normal(0.0, sigma, (DRAWS, 2))).astype(np.int64):
        if 0 <= x + dx < width and 0 <= y + dy < height and allowed_HW[y + dy, x + dx]:
            return int(x + dx), int(y + dy)
    return x, y
