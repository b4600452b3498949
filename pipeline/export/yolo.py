"""YOLO segmentation: a text file an image, a line a part of a mask, as Ultralytics and supervision draw polygons.

Polygons go through the border's pixels, since these are drawn too. Ultralytics cuts off what a coordinate has beyond a
pixel, supervision rounds it: `(pixel + 0.25) / size` is that pixel in both, and a pixel's centre would be the next one
when rounded.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import yaml

from pipeline.export.files import Folder, Names, safe_name
from pipeline.export.format import Options
from pipeline.export.masks import MaskedImage, Reading

WITHIN_PIXEL = 0.25
FEWEST_POINTS = 3  # that make a line a polygon
MOST_POINTS = 1000  # of a line, for older readers


class Yolo:
    """`labels/` beside `images/`; an image without masks has an empty file.

    Readers look for an image's labels by its name without the ending. Of two images that differ in nothing else only
    the first can have labels, and a copy of the second would be read with the labels of the first.
    """

    images_below: str | None = None  # copied here, since not every image is

    def __init__(self, folder: Folder, options: Options) -> None:
        self._folder, self._names = folder, Names()

    def add(self, image: MaskedImage, pixels: bytes | None) -> None:
        """See Format."""
        name = self._names.stem(image.key)
        if name is None:
            what = "images have the name of another but for its ending, whose labels would be theirs: they are left out"
            self._folder.lost[what] += 1
            return
        if pixels is not None:
            self._folder.put(f"images/{safe_name(image.key)}", pixels)
        lines = []
        for mask in image.masks:
            rings = mask.rings(centres=True)
            if len(rings) > 1:
                self._folder.lost["masks in several parts are several objects, a line a part"] += 1
            if any(len(ring) > MOST_POINTS for ring in rings):
                what = f"masks have a part of more than {MOST_POINTS} points, which Ultralytics before 8.3.50 thins out"
                self._folder.lost[what] += 1
            lines += [_line(mask.category_place, ring, image) for ring in rings]
        self._folder.put(f"labels/{name}.txt", "".join(lines).encode())

    def finish(self, reading: Reading) -> Sequence[str]:
        """See Format."""
        names = dict(enumerate(reading.labels.categories))
        data = {"train": "images", "val": "images", "names": names}
        self._folder.put("data.yaml", yaml.safe_dump(data, allow_unicode=True, sort_keys=False).encode())
        if reading.shown:
            self._folder.lost["masks without score, object name and provenance"] += reading.shown
        return [self._folder.address]


def _line(category: int, ring: np.ndarray, image: MaskedImage) -> str:
    if len(ring) < FEWEST_POINTS:
        ring = np.concatenate([ring, np.repeat(ring[-1:], FEWEST_POINTS - len(ring), axis=0)])
    values = ((ring + WITHIN_PIXEL) / (image.width, image.height)).ravel().tolist()
    return f"{category}{' %.6f' * len(values)}\n" % tuple(values)
