"""COCO panoptic: a PNG an image whose colours are identifiers of segments, and JSON that lists these."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image

from pipeline.export.files import Folder, JsonFile, Names, dump
from pipeline.export.format import Options, coco_head, coco_image
from pipeline.export.masks import MaskedImage, Reading

PLACE = "annotations/panoptic_default"  # of the JSON file, and of the folder of PNG files beside it


class CocoPanoptic:
    """Each pixel belongs to the smallest mask that covers it. Segments count from 1 in every image."""

    images_below: str | None = "images/"

    def __init__(self, folder: Folder, options: Options) -> None:
        self._folder, self._names = folder, Names()
        self._file = JsonFile(folder, ["images", "annotations"])

    def add(self, image: MaskedImage, pixels: bytes | None) -> None:
        """See Format."""
        name = self._names.stem_or_key(image.key)
        left, lost = image.lost_to_overlaps()
        self._folder.lost.update(lost)
        colours = np.zeros((image.height, image.width, 3), np.uint8)
        for channel in range(3):
            colours[:, :, channel] = (image.disjoint >> 8 * channel) & 255
        sink = io.BytesIO()
        Image.fromarray(colours).save(sink, "PNG")
        self._folder.put(f"{PLACE}/{name}.png", sink.getvalue())
        self._file.add("images", dump(coco_image(image)))
        segments = list(_segments(image, left))
        self._file.add(
            "annotations", dump({"image_id": image.id, "file_name": f"{name}.png", "segments_info": segments})
        )

    def finish(self, reading: Reading) -> Sequence[str]:
        """See Format."""
        head = coco_head(reading, isthing=1)
        self._folder.put_file(f"{PLACE}.json", self._file.assembled(head))
        return [self._folder.address]


def _segments(image: MaskedImage, left: np.ndarray) -> Iterator[dict[str, Any]]:
    for place, (mask, area) in enumerate(zip(image.masks, left.tolist(), strict=True), start=1):
        if area == 0:
            continue
        height, width = mask.crop.shape
        shown = image.disjoint[mask.top : mask.top + height, mask.left : mask.left + width] == place
        columns, rows = np.flatnonzero(shown.any(axis=0)), np.flatnonzero(shown.any(axis=1))
        x, y = int(columns[0]), int(rows[0])
        yield {
            "id": place,
            "category_id": mask.category_id,
            "area": area,
            "bbox": [mask.left + x, mask.top + y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1],
            "iscrowd": 0,
            "annotation_id": mask.id,
            "object": mask.object,
            "score": mask.score,
            "origin": mask.origin,
            "clicks": mask.clicks,
        }
