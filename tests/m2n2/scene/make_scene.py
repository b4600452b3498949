"""A small scene made from a seed."""

from __future__ import annotations

import numpy as np

from m2n2 import Scene, Settings
from tests.m2n2 import synthetic


def make_scene(
    seed: int = 0, size: tuple[int, int] = (40, 50), grid: tuple[int, int] = (6, 7), chosen: Settings | None = None
) -> Scene:
    rng = np.random.default_rng(seed)
    return Scene(synthetic.image(rng, size), synthetic.attention(rng, grid), chosen)
