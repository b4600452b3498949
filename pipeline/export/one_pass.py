"""Any number of formats at once: the labels are read, and each mask decoded, once for all of them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline.config import ExportFormat
from pipeline.export.coco import Coco
from pipeline.export.coco_panoptic import CocoPanoptic
from pipeline.export.coco_results import CocoResults
from pipeline.export.cvat import Cvat
from pipeline.export.files import Folder, Names, open_folder
from pipeline.export.format import Format, Options
from pipeline.export.hugging_face import HuggingFace
from pipeline.export.label_studio import LabelStudio
from pipeline.export.labels import Labels
from pipeline.export.masks import MaskedImage, Reading, Selection
from pipeline.export.png import Png
from pipeline.export.yolo import Yolo
from pipeline.failure import BadImage
from pipeline.storage.store import Store

FORMATS: dict[ExportFormat, Callable[[Folder, Options], Format]] = {
    "coco": Coco,
    "coco-results": CocoResults,
    "coco-polygon": partial(Coco, polygons=True),
    "coco-panoptic": CocoPanoptic,
    "yolo-seg": Yolo,
    "png": Png,
    "labelstudio": LabelStudio,
    "cvat": Cvat,
    "hf": HuggingFace,
}
ONE_FILE: dict[ExportFormat, Callable[[Folder, Options, str], Format]] = {
    "coco": Coco,
    "coco-results": CocoResults,
    "coco-polygon": partial(Coco, polygons=True),
}
# Choices of `Options` that only some formats have.
FORMATS_WITH: dict[str, tuple[ExportFormat, ...]] = {
    "rle": ("coco",),
    "split_by": ("coco", "coco-polygon"),
    "layout": ("coco", "coco-polygon"),
    "parquet": ("hf",),
}
Writer = tuple[Format, Folder]
Fill = Callable[[Reading, Sequence[Writer]], None]


@dataclass(frozen=True)
class Exported:
    """What an export gave.

    Attributes:
        addresses: of files and folders.
        notes: what was left out and what a format has no room for, a line each, with numbers.
        images_missing: images that were to be copied and are not there.
    """

    addresses: Sequence[str]
    notes: Sequence[str]
    images_missing: int = 0


def export_labels(
    labels: Labels,
    formats: Sequence[ExportFormat],
    target: Store,
    options: Options | None = None,
    selection: Selection | None = None,
    one_file: str | None = None,
    fill: Fill | None = None,
) -> Exported:
    """Write the labels in each format to its folder of `target`, `FORMAT/`; a single format needs no folder of its own.

    Args:
        one_file: the key of the one file that the only format writes, one of ONE_FILE.
        fill: gives the formats what there is; None: one image after another, in this process.

    Raises:
        ForeignPart, PlanDamaged: what is read is not what was planned.
        InvalidClicks: two images would be one file.
    """
    options, reading = options or Options(), Reading(labels, selection or Selection())
    names = list(dict.fromkeys(formats))
    with open_writers(names, target, options, one_file) as writers:
        copying = _Copying(options, writers)
        (fill or partial(fill_in_turn, copy=copying.copy))(reading, writers)
        addresses = [address for writer, _ in writers for address in writer.finish(reading)]
        for _, folder in writers:
            folder.wait()
    lost = [
        f"{name}: {number} {what}"
        for name, (_, folder) in zip(names, writers, strict=True)
        for what, number in folder.lost.items()
    ]
    return Exported(addresses, [*reading.notes(), *copying.notes(), *lost], copying.missing)


@contextmanager
def open_writers(
    formats: Sequence[ExportFormat], target: Store, options: Options, one_file: str | None = None
) -> Iterator[list[Writer]]:
    """The formats in the making, each with its folder, for as long as the block runs."""
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="m2n2-export-")))
        folders = [
            stack.enter_context(open_folder(target, "" if one_file else f"{name}/", scratch / name)) for name in formats
        ]
        if one_file is not None:
            yield [(ONE_FILE[formats[0]](folders[0], options, one_file), folders[0])]
        else:
            yield [(FORMATS[name](folder, options), folder) for name, folder in zip(formats, folders, strict=True)]


def fill_in_turn(
    reading: Reading, writers: Sequence[Writer], copy: Callable[[MaskedImage], bytes | None] | None = None
) -> None:
    """Give the formats one image after another, each with its file where `copy` gives one."""
    for image in reading.images():
        pixels = None if copy is None else copy(image)
        for writer, _ in writers:
            writer.add(image, pixels)


class _Copying:
    """Copies images into the folders of the formats that take them; each is read once."""

    def __init__(self, options: Options, writers: Sequence[Writer]) -> None:
        self._images = options.images if options.with_images else None
        self._writers = [(writer.images_below, folder) for writer, folder in writers if writer.images_below is not None]
        self._names, self.missing, self._example = Names(), 0, ""

    def copy(self, image: MaskedImage) -> bytes | None:
        """The image's file, where images are copied and it is there."""
        if self._images is None:
            return None
        try:
            pixels = self._images.read(image.key)
        except (FileNotFoundError, BadImage):  # BadImage: of a container
            self.missing, self._example = self.missing + 1, self._example or self._images.url(image.key)
            return None
        if self._writers:
            name = self._names.path(image.key)
            for images_below, folder in self._writers:
                folder.put(f"{images_below}{name}", pixels)
        return pixels

    def notes(self) -> list[str]:
        """What could not be copied."""
        return [f"{self.missing} images are not there to be copied, such as {self._example}"] if self.missing else []
