"""COCO instances: JSON with images, categories, and a mask an object, as run lengths or as polygons.

The bytes depend on the parts alone: the same parts give the same file. Objects without a mask are left out;
`m2n2 status` lists them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pipeline.export.files import Folder, JsonFile, dump, open_folder
from pipeline.export.format import Options, coco_head, coco_image
from pipeline.export.labels import Labels
from pipeline.export.masks import Mask, MaskedImage, Reading, Selection
from pipeline.storage.store import Store

LISTS = ("images", "annotations")
SPLITS_IN_MEMORY = 50_000  # images and annotations that wait in all files together

Segmentation = Callable[[Mask], Any]


def export_coco(labels: Labels, target: Store, key: str) -> str:
    """Write the masks as COCO instances to `key` of `target`; returns its address.

    Identifiers are those of `labels`: they leave gaps where an image or an object has none to show, and stay when it
    has later. Extra keys of an annotation, which importers ignore or keep: `score`, `object`, both once more in
    `attributes`; `origin`, by which `info.provenance` says where the mask comes from, and the digest of its `clicks`.
    `info` says which masks these are: `fingerprint` and `parts`, see Labels.
    """
    reading = Reading(labels, Selection())
    with (
        tempfile.TemporaryDirectory(prefix="m2n2-export-") as directory,
        open_folder(target, "", Path(directory) / "coco") as folder,
    ):
        coco = Coco(folder, Options(), key)
        for image in reading.images():
            coco.add(image, None)
        return coco.finish(reading)[0]


class Coco:
    """COCO instances in one file, or in several, see Options.split_by."""

    images_below: str | None = "images/"

    def __init__(self, folder: Folder, options: Options, name: str | None = None, polygons: bool = False) -> None:
        self._folder, self._options = folder, options
        self._segmentation = polygon_of if polygons else counts_of if options.rle == "list" else rle_of
        self._one_file = name
        self._files: dict[str, JsonFile] = {}
        self._taken = self._waiting = 0

    def add(self, image: MaskedImage, pixels: bytes | None) -> None:
        """See Format."""
        for name, masks in self._shares(image):
            if name not in self._files:
                self._files[name] = JsonFile(self._folder, LISTS)
            file = self._files[name]
            file.add("images", dump(coco_image(image)))
            for mask in masks:
                file.add("annotations", dump(annotation(mask, image.id, self._segmentation(mask))))
        self._taken += 1
        if self._options.split_by is not None:
            self._waiting += len(image.masks) + 1
            if self._waiting > SPLITS_IN_MEMORY:
                self._waiting = 0
                for file in self._files.values():
                    file.flush()

    def piece(self) -> Mapping[str, bytes]:
        """See InPieces; of one file."""
        return self._files[""].piece() if self._files else {}

    def join(self, piece: Mapping[str, bytes]) -> None:
        """See InPieces."""
        if "" not in self._files:
            self._files[""] = JsonFile(self._folder, LISTS)
        self._files[""].join(piece)

    def finish(self, reading: Reading) -> Sequence[str]:
        """See Format."""
        if self._options.split_by is None and not self._files:
            self._files[""] = JsonFile(self._folder, LISTS)
        head = coco_head(reading)
        addresses = [
            self._folder.put_file(self._one_file or self._name_of(split), file.assembled(head))
            for split, file in self._files.items()
        ]
        return addresses if self._options.split_by is None else [self._folder.address]

    def _name_of(self, split: str) -> str:
        if self._options.layout == "annotations":
            return f"annotations/instances{split or '_default'}.json"
        return f"instances{split}.json"

    def _shares(self, image: MaskedImage) -> Iterator[tuple[str, Sequence[Mask]]]:
        """What of an image goes into which file."""
        split_by = self._options.split_by
        if split_by is None:
            yield "", image.masks
        elif split_by == "folder":
            yield f"_{quote(image.key.rpartition('/')[0], safe=' ')}", image.masks
        elif split_by == "category":
            for category in dict.fromkeys(mask.category for mask in image.masks):
                yield f"_{quote(category, safe=' ')}", [mask for mask in image.masks if mask.category == category]
            if not image.masks:
                self._folder.lost["images without a mask are in none of the categories' files"] += 1
        else:
            yield f"_{self._taken // split_by + 1:06d}", image.masks


def annotation(mask: Mask, image_id: int, segmentation: Any) -> dict[str, Any]:
    """An annotation of a COCO document."""
    return {
        "id": mask.id,
        "image_id": image_id,
        "category_id": mask.category_id,
        "segmentation": segmentation,
        "bbox": mask.bbox,
        "area": mask.area,
        "iscrowd": 0,
        "score": mask.score,
        "object": mask.object,
        "attributes": {"object": mask.object, "score": mask.score},
        "origin": mask.origin,
        "clicks": mask.clicks,
    }


def rle_of(mask: Mask) -> dict[str, Any]:
    """As COCO's own tools write run lengths."""
    return mask.rle


def counts_of(mask: Mask) -> dict[str, Any]:
    """Run lengths as numbers."""
    return {"size": mask.rle["size"], "counts": mask.runs.tolist()}


def polygon_of(mask: Mask) -> list[list[int]]:
    """A ring a part along the pixels' corners."""
    return [ring.ravel().tolist() for ring in mask.rings(centres=False)]
