"""Maps as PNG in Pascal VOC's layout, which CVAT and Datumaro read too: of categories and of instances, one an image.

A pixel's value is the category's identifier, or the place of the object in its image from 1; the palette makes
VOC's colours of it, which `labelmap.txt` gives names.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from pipeline.clicks import InvalidClicks
from pipeline.export.files import Folder, Names
from pipeline.export.format import Options
from pipeline.export.masks import MaskedImage, Reading
from pipeline.inputs.categories import LARGEST_ID_IN_PNG

PALETTE_COLOURS = 256


class Png:
    """Each pixel belongs to the smallest mask that covers it."""

    images_below: str | None = "JPEGImages/"

    def __init__(self, folder: Folder, options: Options) -> None:
        self._folder, self._names = folder, Names()
        self._listed = folder.new_file()
        self._list = self._listed.open("w", encoding="utf-8")

    def add(self, image: MaskedImage, pixels: bytes | None) -> None:
        """See Format."""
        name = self._names.stem_or_key(image.key)
        _, lost = image.lost_to_overlaps()
        self._folder.lost.update(lost)
        for mask in image.masks:
            if mask.category_id > LARGEST_ID_IN_PNG:
                raise InvalidClicks(
                    f"png: category {mask.category!r}: found the identifier {mask.category_id}; "
                    f"allowed in a map's pixels: 1 to {LARGEST_ID_IN_PNG}"
                )
        categories = np.array([0, *(mask.category_id for mask in image.masks)], np.int64)
        self._folder.put(f"SegmentationClass/{name}.png", _png(categories[image.disjoint]))
        self._folder.put(f"SegmentationObject/{name}.png", _png(image.disjoint))
        self._list.write(f"{name}\n")

    def finish(self, reading: Reading) -> Sequence[str]:
        """See Format."""
        self._list.close()
        self._folder.put_file("ImageSets/Segmentation/default.txt", self._listed)
        lines = ["# label:color_rgb:parts:actions", "background:0,0,0::"]
        for name, number in reading.labels.categories.items():
            if ":" in name:
                self._folder.lost["categories have a colon in their name, which readers of labelmap.txt cut off"] += 1
            lines.append(f"{name}:{','.join(map(str, _colour(number)))}::")
        self._folder.put("labelmap.txt", "".join(f"{line}\n" for line in lines).encode())
        if reading.shown:
            self._folder.lost["masks without score, object name and provenance"] += reading.shown
        return [self._folder.address]


def _png(values: np.ndarray) -> bytes:
    sink = io.BytesIO()
    if values.max(initial=0) < PALETTE_COLOURS:
        picture = Image.fromarray(values.astype(np.uint8))
        picture.putpalette([part for number in range(PALETTE_COLOURS) for part in _colour(number)])
    else:
        picture = Image.fromarray(values.astype(np.uint16))
    picture.save(sink, "PNG")
    return sink.getvalue()


def _colour(number: int) -> tuple[int, int, int]:
    """VOC's colour of a number: its bits in turn to red, green and blue, the highest bits of these first."""
    red = green = blue = 0
    for bit in range(7, -1, -1):
        red |= (number & 1) << bit
        green |= (number >> 1 & 1) << bit
        blue |= (number >> 2 & 1) << bit
        number >>= 3
    return red, green, blue
