"""Compile the head's kernels, or load them from numba's cache on disk: the first image should not wait for it.

`python -m m2n2.warm_up` fills the cache from a process of its own, while others start.
"""

from __future__ import annotations

import numpy as np
import torch

from m2n2.prompt import Prompt
from m2n2.scene import Scene
from m2n2.settings import Settings


def warm_up(settings: Settings) -> None:
    """Segment a tiny grey image, larger than its working size by default: it needs every kernel that `settings` use."""
    generator = torch.Generator().manual_seed(0)
    keys = torch.randn(settings.key_layers, 8, 8, 8, generator=generator)
    attention = torch.rand(8, 8, 8, 8, generator=generator)
    scene = Scene(np.zeros((96, 96, 3), np.uint8), keys if settings.affinity == "keys" else attention, settings)
    scene.segment([Prompt([(32.0, 32.0), (8.0, 8.0)], [True, True])])


if __name__ == "__main__":
    warm_up(Settings())
