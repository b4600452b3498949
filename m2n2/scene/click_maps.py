"""What each click becomes by itself, whatever the other clicks are; kept, so that a further click costs itself alone.

Letters in names: P points, N cells of the attention's grid, h x w the working size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from m2n2.errors import OperatorReleased
from m2n2.joint_reading import click_map
from m2n2.kernels.bounded_cache import BoundedCache
from m2n2.kernels.gpu.copies import own_stream, to_host, upload
from m2n2.kernels.parallel import run_parallel
from m2n2.markov_map import start_states
from m2n2.refined.clicked import ClickMap
from m2n2.scene.affinity import Affinity
from m2n2.scene.two_sizes import ImageAtTwoSizes, Pixel
from m2n2.settings import Settings
from m2n2.upsampling import upsample

MARKOV_CACHE_BYTES = 1 << 30  # maps on the grid: 16,000 points of a 128 x 128 grid
CLICK_CACHE_BYTES = 1 << 28  # flooded maps at working size, with their candidates


class ClickMaps:
    """The maps of an image's clicks: on the attention's grid, at working size, and flooded with their candidates."""

    def __init__(self, affinity: Affinity, image: ImageAtTwoSizes, settings: Settings) -> None:
        self.affinity, self._image, self._settings = affinity, image, settings
        self._on_grid: BoundedCache[Pixel, np.ndarray] = BoundedCache(MARKOV_CACHE_BYTES)
        self._flooded: BoundedCache[Pixel, ClickMap] = BoundedCache(CLICK_CACHE_BYTES)

    def release(self) -> None:
        """Free the N x N tensor: new points raise OperatorReleased."""
        self.affinity = replace(self.affinity, maps=None, size_bytes=0)

    @property
    def size_bytes(self) -> int:
        """Memory of the operator and of what is kept."""
        return self.affinity.size_bytes + self._on_grid.used_bytes + self._flooded.used_bytes

    def on_grid(self, pixels: Sequence[Pixel]) -> list[np.ndarray]:
        """Markov-maps on the grid, (N,) float32 each; the missing ones are made together.

        Raises:
            OperatorReleased: one is missing, and there is nothing left to make it with.
        """
        maps = {pixel: self._on_grid.get(pixel) for pixel in pixels}
        missing = [pixel for pixel, map_N in maps.items() if map_N is None]
        if missing:
            affinity = self.affinity
            if affinity.maps is None:
                raise OperatorReleased(f"point {missing[0]} was not advanced before the operator was released")
            starts_PN = start_states(missing, self._image.full_size, affinity.grid)
            made_PN = to_host(affinity.maps(upload(starts_PN, affinity.device), self._settings))
            for pixel, map_N in zip(missing, made_PN, strict=True):
                maps[pixel] = map_N
                self._on_grid.put(pixel, map_N, map_N.nbytes)
        return [map_N for pixel in pixels if (map_N := maps[pixel]) is not None]

    def upsampled(self, pixels: Sequence[Pixel]) -> np.ndarray:
        """The maps at working size, each divided by its maximum: (P, h, w) float32."""
        maps_Phw = np.stack(self.on_grid(pixels)).reshape(len(pixels), *self.affinity.grid)
        with own_stream(self.affinity.device):
            return upsample(upload(maps_Phw, self.affinity.device), self._image.small_hw3, self._settings)

    def flooded(self, pixels: Sequence[Pixel]) -> dict[Pixel, ClickMap]:
        """The maps flooded from their clicks, with their candidates."""
        maps = {pixel: click for pixel in pixels if (click := self._flooded.get(pixel)) is not None}
        missing = [pixel for pixel in dict.fromkeys(pixels) if pixel not in maps]
        at_once = self._image.maps_at_once
        for first in range(0, len(missing), at_once):
            batch = missing[first : first + at_once]
            made = run_parallel(self._flood, zip(batch, self.upsampled(batch), strict=True))
            for pixel, click in zip(batch, made, strict=True):
                maps[pixel] = click
                self._flooded.put(pixel, click, click.size_bytes)
        return maps

    def _flood(self, item: tuple[Pixel, np.ndarray]) -> ClickMap:
        pixel, map_hw = item
        return click_map(map_hw, *self._image.small_pixel(pixel), self._settings)
