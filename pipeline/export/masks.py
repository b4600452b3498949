"""What an export format is given: an image at a time with its masks, decoded once however many formats want them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from pipeline.export.decisions import Decisions, mask_digest
from pipeline.export.labels import Labels
from pipeline.parts import Row
from pipeline.provenance import Provenance

COLUMNS = ("width", "height", "category", "rle", "bbox", "area", "score", "provenance", "clicks_digest")


@dataclass(frozen=True)
class Mask:
    """One object's mask.

    Attributes:
        id: of the object, from 1, the same in every export.
        category_id: from 1.
        category_place: of its category among all, from 0.
        rle: COCO's compressed run lengths: `size` (height, width) and `counts`.
        bbox: x, y, width, height in pixels.
        area: in pixels, never 0.
        score: 0..1, four digits.
        clicks: digest of the object's clicks; None in masks of version 0.1.
        origin: number of where the mask comes from, see Reading.origins.
    """

    id: int
    object: str
    category: str
    category_id: int
    category_place: int
    rle: dict[str, Any]
    bbox: Sequence[float]
    area: int
    score: float
    clicks: str | None
    origin: int

    @property
    def left(self) -> int:
        """Of the crop, in the image."""
        return int(self.bbox[0])

    @property
    def top(self) -> int:
        """Of the crop, in the image."""
        return int(self.bbox[1])

    @cached_property
    def runs(self) -> np.ndarray:
        """(R,) int64: lengths of the runs along the image's columns, background first."""
        from m2n2.kernels.run_lengths import read_counts

        return read_counts(np.frombuffer(self.rle["counts"].encode("ascii"), np.uint8))

    @cached_property
    def crop(self) -> np.ndarray:
        """(h, w) uint8 of 0 and 1: the mask within its box."""
        from m2n2.kernels.run_lengths import fill_crop

        crop = np.zeros((int(self.bbox[3]), int(self.bbox[2])), np.uint8)
        fill_crop(self.runs, self.rle["size"][0], self.left, self.top, crop)
        return crop

    def rings(self, centres: bool) -> list[np.ndarray]:
        """The polygons of the mask's parts, each (P, 2) int64, see m2n2.kernels.outlines; in the image's pixels."""
        from m2n2.kernels.outlines import outlines

        points, ends = outlines(self.crop, centres)
        points += (self.left, self.top)
        return np.split(points, ends[:-1]) if len(ends) > 1 else [points]


@dataclass(frozen=True)
class MaskedImage:
    """One image of an export, whose size is known, and the masks that are shown of it."""

    id: int
    key: str
    width: int
    height: int
    masks: list[Mask]

    @cached_property
    def disjoint(self) -> np.ndarray:
        """(height, width): at each pixel the place in `masks` of the smallest mask that covers it, from 1; else 0."""
        places = np.zeros((self.height, self.width), np.uint16 if len(self.masks) < 1 << 16 else np.uint32)
        largest_first = sorted(enumerate(self.masks, start=1), key=lambda item: (-item[1].area, -item[1].id))
        for place, mask in largest_first:
            height, width = mask.crop.shape
            within = places[mask.top : mask.top + height, mask.left : mask.left + width]
            within[mask.crop != 0] = place
        return places

    def lost_to_overlaps(self) -> tuple[np.ndarray, dict[str, int]]:
        """Of `disjoint`, how many pixels each mask has left, (masks,); and what that loses, as people are told."""
        left = np.bincount(self.disjoint.ravel(), minlength=len(self.masks) + 1)[1:]
        lost = np.array([mask.area for mask in self.masks], np.int64) - left
        told = {
            "masks lose pixels to smaller masks over them": int(np.count_nonzero(lost)),
            "pixels of masks are those of smaller masks over them": int(lost.sum()),
            "masks are left out: smaller masks cover all of them": int(np.count_nonzero(left == 0)),
        }
        return left, {what: number for what, number in told.items() if number}


@dataclass(frozen=True)
class Selection:
    """What of the labels is exported.

    Attributes:
        min_score: masks below it are left out.
        images: keys of the images that are exported; None: all.
        decisions: what people said of masks; those that were rejected are left out. None: nobody is asked.
        accepted_only: also those that nobody has accepted are left out.
    """

    min_score: float = 0.0
    images: Collection[str] | None = None
    decisions: Decisions | None = None
    accepted_only: bool = False


@dataclass(frozen=True)
class Found:
    """What a reading of some of the images came across, see Reading, for the one that speaks of all of them."""

    shown: int
    origins: Sequence[Provenance]
    left_out: Counter[str]
    seen: Collection[str]


class Reading:
    """One pass over labels, and what it came across.

    Attributes:
        labels: what is read.
        shown: masks that the formats got.
        origins: where the masks come from, each by the number that masks have as `origin`.
    """

    def __init__(self, labels: Labels, selection: Selection, origins: Sequence[Provenance] = ()) -> None:
        """`origins`: those that have their number already."""
        self.labels, self._selection = labels, selection
        self.shown = 0
        self.origins: list[Provenance] = []
        self._numbers: dict[Provenance, int] = {}
        self._places = {name: place for place, name in enumerate(labels.categories)}
        self._left_out: Counter[str] = Counter()
        self._seen: set[str] = set()
        for origin in origins:
            self._origin(origin)

    def images(self) -> Iterator[MaskedImage]:
        """The images in the order of their identifiers; what none of the formats gets is counted."""
        wanted, min_score = self._selection.images, self._selection.min_score
        for image in self.labels.images(COLUMNS):
            key = image.rows[0]["image"]
            if wanted is not None:
                if key not in wanted:
                    self._left_out["images are not in the list of images"] += 1
                    continue
                self._seen.add(key)
            rows = [row for row in image.rows if row["rle"] is not None]
            self._left_out["objects have no mask; `m2n2 status` says why"] += len(image.rows) - len(rows)
            decoded = next((row for row in image.rows if row["width"] is not None), None)
            if decoded is None:
                self._left_out["images could not be read, so their size is not known: they are left out"] += 1
                continue
            rows = [row for row in rows if self._is_kept(row)]
            masks = [mask for mask in map(self._mask, rows) if mask.score >= min_score]
            self._left_out[f"masks have a score below {min_score:g}"] += len(rows) - len(masks)
            self.shown += len(masks)
            yield MaskedImage(image.id, key, decoded["width"], decoded["height"], masks)

    def found(self) -> Found:
        """What it came across so far."""
        return Found(self.shown, self.origins, self._left_out, self._seen)

    def is_continued_by(self, found: Found) -> bool:
        """Whether another reading of the images that follow gave every origin the number that it would have here."""
        new = [origin for origin in found.origins if origin not in self._numbers]
        return [*self.origins, *new][: len(found.origins)] == list(found.origins)

    def join(self, found: Found) -> None:
        """Take in what another reading of the images that follow came across."""
        self.shown += found.shown
        self._left_out.update(found.left_out)
        self._seen.update(found.seen)
        for origin in found.origins:
            self._origin(origin)

    def notes(self) -> list[str]:
        """What none of the formats got, a line each; once `images` came to its end."""
        unknown = set(self._selection.images or ()) - self._seen
        if unknown:
            self._left_out[f"names in the list of images are none of the images, such as {min(unknown)!r}"] = len(
                unknown
            )
        return [f"{number} {what}" for what, number in self._left_out.items() if number]

    def _is_kept(self, row: Row) -> bool:
        """Whether people's decisions leave the mask in."""
        if self._selection.decisions is None:
            return True
        said = self._selection.decisions.about(row["image"], row["object"], mask_digest(row["rle"]))
        if said is not None and said.verdict == "reject":
            self._left_out["masks were rejected"] += 1
            return False
        if said is None and self._selection.accepted_only:
            self._left_out["masks were not accepted by anybody, as they are now"] += 1
            return False
        return True

    def _mask(self, row: Row) -> Mask:
        category = row["category"]
        return Mask(
            row["id"],
            row["object"],
            category,
            self.labels.categories[category],
            self._places[category],
            row["rle"],
            row["bbox"],
            row["area"],
            round(row["score"], 4),
            row.get("clicks_digest"),
            self._origin(row["provenance"]),
        )

    def _origin(self, provenance: Provenance) -> int:
        if provenance not in self._numbers:
            self._numbers[provenance] = len(self.origins)
            self.origins.append(provenance)
        return self._numbers[provenance]
