"""Label Studio: tasks whose predictions are brush strokes, and the labelling configuration that they belong to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np

from m2n2.kernels.run_lengths import row_runs
from pipeline.export.files import Folder, JsonFile, dump, safe_name
from pipeline.export.format import Options
from pipeline.export.masks import Mask, MaskedImage, Reading

CHANNELS = 4  # every pixel four times, as red, green, blue and opacity
SIZES = (3, 4, 8, 16)  # bits of a run's length, chosen for each run
WORD = 8  # bits of a value
FROM, TO = "tag", "image"


class LabelStudio:
    """`tasks.json` and `labeling_config.xml`. Masks are editable predictions; nothing is lost but their addresses."""

    images_below: str | None = "images/"

    def __init__(self, folder: Folder, options: Options) -> None:
        self._folder, self._options = folder, options
        self._file = JsonFile(folder, ["tasks"])

    def add(self, image: MaskedImage, pixels: bytes | None) -> None:
        """See Format."""
        results = [_result(mask, image) for mask in image.masks]
        task: dict[str, Any] = {"data": {TO: self._address(image.key), "image_id": image.id}}
        if results:
            score = min(mask.score for mask in image.masks)
            task["predictions"] = [{"model_version": _version(image.masks[0]), "score": score, "result": results}]
        self._file.add("tasks", dump(task))

    def piece(self) -> Mapping[str, bytes]:
        """See InPieces."""
        return self._file.piece()

    def join(self, piece: Mapping[str, bytes]) -> None:
        """See InPieces."""
        self._file.join(piece)

    def finish(self, reading: Reading) -> Sequence[str]:
        """See Format."""
        labels = "".join(
            f"    <Label value={quoteattr(name)} alias={quoteattr(name)}/>\n" for name in reading.labels.categories
        )
        configuration = (
            f'<View>\n  <Image name="{TO}" value="${TO}" zoom="true"/>\n'
            f'  <BrushLabels name="{FROM}" toName="{TO}">\n{labels}  </BrushLabels>\n</View>\n'
        )
        self._folder.put("labeling_config.xml", configuration.encode())
        self._folder.put_file("tasks.json", self._file.assembled())
        return [self._folder.address]

    def _address(self, key: str) -> str:
        if self._options.with_images:
            return f"/data/local-files/?d=images/{quote(safe_name(key))}"
        return self._options.images.url(key) if self._options.images is not None else key


def _version(mask: Mask) -> str:
    """Predictions of an image carry one version; each mask's own provenance stands in its `meta`."""
    return f"m2n2 origin {mask.origin}"


def _result(mask: Mask, image: MaskedImage) -> dict[str, Any]:
    return {
        "id": f"m2n2-{mask.id}",
        "type": "brushlabels",
        "from_name": FROM,
        "to_name": TO,
        "original_width": image.width,
        "original_height": image.height,
        "image_rotation": 0,
        "value": {"format": "rle", "rle": brush(mask, image), "brushlabels": [mask.category]},
        "score": mask.score,
        "meta": {"object": mask.object, "origin": mask.origin, "clicks": mask.clicks},
    }


def brush(mask: Mask, image: MaskedImage) -> list[int]:
    """The bytes of Label Studio's run lengths: values 0 and 255, rows first, four times a pixel.

    Bits, the highest first: 32 of how many values, 5 of a value's bits less one, 4 times 4 of SIZES less one; then for
    each run 1, two bits of which size, its length less one in so many bits, and its value.
    """
    header = [(image.width * image.height * CHANNELS, 32), (WORD - 1, 5), *((size - 1, 4) for size in SIZES)]
    bits = [f"{value:0{width}b}" for value, width in header]
    longest = 1 << SIZES[-1]
    for number, length in enumerate(image_runs(mask, image.width, image.height).tolist()):
        value = f"{255 * (number % 2):08b}"
        left = length * CHANNELS
        while left:
            run = min(left, longest)
            which = next(place for place, size in enumerate(SIZES) if run <= 1 << size)
            bits.append(f"1{which:02b}{run - 1:0{SIZES[which]}b}{value}")
            left -= run
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8, "big"))


def image_runs(mask: Mask, width: int, height: int) -> np.ndarray:
    """(R,) int64: runs of the whole image along its rows, background first."""
    rows, columns = mask.crop.shape
    band = np.zeros((rows, width), np.uint8)
    band[:, mask.left : mask.left + columns] = mask.crop
    runs = row_runs(band)
    runs[0] += mask.top * width
    below = (height - mask.top - rows) * width
    if runs.size % 2 == 1:  # the band ends with background
        runs[-1] += below
        return runs
    return np.append(runs, below)
