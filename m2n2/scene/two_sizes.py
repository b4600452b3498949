"""An image at its full and at its working size, and the way from one to the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from m2n2.errors import InvalidImage, InvalidPrompt, check_image
from m2n2.full_size import carry_mask, working_image, working_pixels
from m2n2.prompt import Point
from m2n2.settings import Settings

Pixel = tuple[int, int]  # (x, y)

BATCH_BYTES = 1 << 27  # maps at working size that are upsampled together, and masks that are made together


class ImageAtTwoSizes:
    """An image, H x W, and what it is segmented at, h x w."""

    def __init__(self, image: np.ndarray, settings: Settings, grid: tuple[int, int]) -> None:
        """`image` is a checked one; `grid` (rows, columns) of the attention decides the working size."""
        self.full_HW3 = image
        self._settings, self._grid = settings, grid

    @cached_property
    def small_hw3(self) -> np.ndarray:
        """The working image, made with the first mask: the thread that advances would keep the device waiting."""
        return working_image(self.full_HW3, working_pixels(self._settings, self._grid))

    def averaged(self, pixels: int) -> ImageAtTwoSizes:
        """A copy of about so many pixels, which is its own working image."""
        copy = ImageAtTwoSizes(working_image(self.full_HW3, pixels), self._settings, self._grid)
        copy.small_hw3 = copy.full_HW3
        return copy

    def of_settings(self, settings: Settings) -> ImageAtTwoSizes:
        """The same image at the working size of other settings. Raises InvalidImage: it is larger than they allow."""
        return ImageAtTwoSizes(checked_image(self.full_HW3, settings.max_pixels), settings, self._grid)

    @property
    def full_size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.full_HW3.shape[0], self.full_HW3.shape[1]

    @property
    def size_bytes(self) -> int:
        """Memory of both."""
        return self.full_HW3.nbytes + self.small_hw3.nbytes

    @property
    def maps_at_once(self) -> int:
        """Maps at working size, float32, that fit in memory together."""
        return max(1, BATCH_BYTES // (4 * self.small_hw3[..., 0].size))

    @property
    def masks_at_once(self) -> int:
        """Masks at full size that fit in memory together."""
        return max(1, BATCH_BYTES // self.full_HW3[..., 0].size)

    def pixels(self, points: Sequence[Point]) -> list[Pixel]:
        """Points rounded to pixels of the image. Raises InvalidPrompt: one is outside."""
        height, width = self.full_size
        pixels = []
        for x, y in points:
            if not (math.isfinite(x) and math.isfinite(y) and 0 <= round(x) < width and 0 <= round(y) < height):
                raise InvalidPrompt(f"point ({x:g}, {y:g}) is outside the image of {width} x {height} pixels")
            pixels.append((round(x), round(y)))
        return pixels

    def small_pixel(self, pixel: Pixel) -> Pixel:
        """The pixel of the working image that holds a pixel of the image."""
        (x, y), (full_height, full_width) = pixel, self.full_size
        height, width = self.small_hw3.shape[:2]
        return (2 * x + 1) * width // (2 * full_width), (2 * y + 1) * height // (2 * full_height)

    def carried(self, mask_hw: np.ndarray) -> np.ndarray:
        """A mask of the working image at full size: (H, W) bool."""
        return carry_mask(mask_hw, self.small_hw3, self.full_HW3)


def checked_image(image: np.ndarray, max_pixels: int) -> np.ndarray:
    """The image, where it is (H, W, 3) uint8 and not too large, C-contiguous. Raises InvalidImage."""
    check_image(image)
    height, width = image.shape[:2]
    if height * width > max_pixels:
        raise InvalidImage(f"{width} x {height} pixels are more than the limit of {max_pixels} (Settings.max_pixels)")
    return np.require(image, requirements=["C", "W"])  # kernels would be compiled once more for arrays of another kind
