"""What every export format is: something that takes one image after another and then says where it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from m2n2 import __version__
from pipeline.containers.source import ImageSource
from pipeline.export.files import dump
from pipeline.export.masks import MaskedImage, Reading

# Nothing is known of the photos' licence; readers that look one up find this.
LICENSES = [{"id": 1, "name": "that of the images", "url": ""}]


@dataclass(frozen=True)
class Options:
    """How formats are written, as far as they have a choice.

    Attributes:
        rle: masks of COCO files as COCO's compressed text or as lists of numbers.
        split_by: COCO files of so many images, or one for every category or folder; None: one file.
        layout: `flat`: `instances.json`; `annotations`: `annotations/instances_default.json`.
        images: where the images are, None where that is not known.
        with_images: copy the images, else the formats name them.
        parquet: the `hf` format as Parquet with the images in it.
    """

    rle: Literal["compressed", "list"] = "compressed"
    split_by: int | Literal["category", "folder"] | None = None
    layout: Literal["flat", "annotations"] = "flat"
    images: ImageSource | None = None
    with_images: bool = False
    parquet: bool = False


class Format(Protocol):
    """One format in the making. `images_below` is where all images are copied to; None: no images, or it does that."""

    images_below: str | None

    def add(self, image: MaskedImage, pixels: bytes | None) -> None:
        """Take in one image and its file's bytes, where they are copied; keep nothing of it."""

    def finish(self, reading: Reading) -> Sequence[str]:
        """Write what comes last; returns the addresses that people are told."""


@runtime_checkable
class InPieces(Protocol):
    """A format whose files grow by an image at a time and by nothing else: many write pieces, one joins them."""

    def piece(self) -> Mapping[str, bytes]:
        """By what grows, all that the images so far gave."""

    def join(self, piece: Mapping[str, bytes]) -> None:
        """Take in a piece of the images that follow."""


def coco_head(reading: Reading, **of_category: Any) -> dict[str, str]:
    """`info`, `licenses` and `categories` of a COCO document, as JSON; `fingerprint` and `parts`: see Labels."""
    labels = reading.labels
    origins = [{"id": number} | asdict(origin) for number, origin in enumerate(reading.origins)]
    info = {
        "description": "Masks by m2n2",
        "version": __version__,
        "fingerprint": labels.fingerprint,
        "parts": labels.parts_digest,
        "provenance": origins,
    }
    categories: list[dict[str, Any]] = []
    for name, number in labels.categories.items():
        above = labels.supercategories.get(name)
        categories.append({"id": number, "name": name} | ({"supercategory": above} if above else {}) | of_category)
    return {"info": dump(info), "licenses": dump(LICENSES), "categories": dump(categories)}


def coco_image(image: MaskedImage) -> dict[str, Any]:
    """An image of a COCO document."""
    return {"id": image.id, "file_name": image.key, "width": image.width, "height": image.height, "license": 1}
