"""An object's clicks read on the working image: together as the paper does it, or one after the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from m2n2.joint_reading import read_jointly
from m2n2.kernels.bounded_cache import BoundedCache
from m2n2.prompt import Box, Prompt
from m2n2.refined.box import BoxOnGrid, box_on_grid
from m2n2.refined.clicked import MappedClick, Reading
from m2n2.refined.edit import edit
from m2n2.refined.key_affinity import SpectralChain
from m2n2.refined.smooth import Smoother
from m2n2.scene.click_maps import CLICK_CACHE_BYTES
from m2n2.scene.two_sizes import ImageAtTwoSizes, Pixel
from m2n2.settings import Settings

ReadClicks = tuple[Box | None, tuple[tuple[Pixel, bool], ...]]


@dataclass(frozen=True)
class ClickedObject:
    """A prompt and its pixels in the image."""

    prompt: Prompt
    pixels: list[Pixel]

    @property
    def foreground(self) -> list[Pixel]:
        """The pixels of clicks on the object."""
        return [pixel for pixel, label in zip(self.pixels, self.prompt.labels, strict=True) if label]


@dataclass(frozen=True)
class ObjectReading:
    """What was read of all clicks, and of all but the last, None of a first one; and how far pixels are from it.

    Attributes:
        distance_hw: (h, w) float32, of the joint reading.
    """

    reading: Reading
    before: Reading | None
    distance_hw: np.ndarray


class ObjectReader:
    """Reads the clicks of an image's objects as the settings say."""

    def __init__(
        self, chain: SpectralChain | None, grid: tuple[int, int], image: ImageAtTwoSizes, settings: Settings
    ) -> None:
        """`chain` is of the image's keys, None where they are not read; `grid` (rows, columns) of its cells."""
        self._chain, self._image, self._settings, self._grid = chain, image, settings, grid
        self._readings: BoundedCache[ReadClicks, Reading] = BoundedCache(CLICK_CACHE_BYTES)

    @property
    def size_bytes(self) -> int:
        """Memory of what is kept."""
        return self._readings.used_bytes

    def read(self, each: ClickedObject, mapped: list[MappedClick]) -> ObjectReading:
        """The reading of an object whose clicks have these maps."""
        box = self._box(each.prompt)
        reading, distance_hw = read_jointly(mapped, self._settings, box)
        before: Reading | None = None
        if self._settings.more_clicks == "edit":
            if mapped[1:]:
                before = self._edited(each, mapped[:-1])
            reading = self._edited(each, mapped)
        else:
            if mapped[1:]:
                before, _ = read_jointly(mapped[:-1], self._settings, box)
            if self._smoother is not None:
                reading = self._smoother.smooth(None, reading, mapped)
        if box is not None:
            box.clear_beyond(reading.mask_hw, False)
        return ObjectReading(reading, before, distance_hw)

    @property
    def _smoother(self) -> Smoother | None:
        """What the settings smooth masks with."""
        if self._chain is None or not self._settings.smooth:
            return None
        return Smoother(self._chain, self._grid, self._image.small_hw3, self._settings)

    def _box(self, prompt: Prompt) -> BoxOnGrid | None:
        if prompt.box is None:
            return None
        return box_on_grid(prompt.box, self._settings, self._image.full_size, self._image.small_hw3.shape[:2])

    def _edited(self, each: ClickedObject, mapped: list[MappedClick]) -> Reading:
        """The clicks one after the other; what came of the first ones is kept for the next call."""
        reading: Reading | None = None
        for count in range(1, len(mapped) + 1):
            key = each.prompt.box, tuple(zip(each.pixels[:count], each.prompt.labels[:count], strict=True))
            known = self._readings.get(key)
            if known is None:
                joint, _ = read_jointly(mapped[:count], self._settings, self._box(each.prompt))
                known = joint if reading is None else edit(reading, mapped[:count], joint)
                if self._smoother is not None:
                    known = self._smoother.smooth(reading, known, mapped[:count])
                self._readings.put(key, known, known.mask_hw.nbytes)
            reading = known
        assert reading is not None, "a prompt has a point"
        return reading
