"""The objects of one image against each other: masks that overlap, are nearly the same, or took another's click."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from pipeline.parts import Row
from pipeline.review.planned_clicks import Clicks

DUPLICATE_IOU = 0.8


@dataclass(frozen=True)
class Neighbours:
    """How an object's mask stands to the other masks of its image.

    Attributes:
        overlap: the largest share of the smaller of two masks that both have, near-duplicates left out.
        duplicate: the largest IoU with another mask, where it is at least DUPLICATE_IOU; else 0.
        lost_clicks: clicks on the object that are not in its mask.
        overlap_with, duplicate_of, lost_to: the other object; `lost_to` is None where no mask has the clicks.
    """

    overlap: float = 0.0
    overlap_with: str | None = None
    duplicate: float = 0.0
    duplicate_of: str | None = None
    lost_clicks: int = 0
    lost_to: str | None = None


def compare_masks(rows: Sequence[Row], clicks: Sequence[Clicks]) -> list[Neighbours]:
    """How every object of an image stands to the others, in their order; all on RLE, nothing is decoded.

    Args:
        rows: the objects, with `rle` and `object`.
        clicks: of each object, in pixels of its mask.
    """
    found = [Neighbours()] * len(rows)
    labelled = sorted((number for number, row in enumerate(rows) if row["rle"]), key=lambda each: _size(rows[each]))
    # An image that changed its size between two nights may have masks of both.
    for _, same_size in groupby(labelled, key=lambda each: _size(rows[each])):
        members = list(same_size)
        compared = _compare([rows[each] for each in members], [clicks[each] for each in members])
        for member, neighbours in zip(members, compared, strict=True):
            found[member] = neighbours
    return found


def _size(row: Row) -> tuple[int, int]:
    height, width = row["rle"]["size"]
    return height, width


def _compare(rows: Sequence[Row], clicks: Sequence[Clicks]) -> list[Neighbours]:
    masks = [row["rle"] for row in rows]
    areas = np.array([row["area"] for row in rows], float)
    pixels = [_pixel(click, *_size(rows[0])) for each in clicks for click in each if click["label"]]
    owners = [number for number, each in enumerate(clicks) for click in each if click["label"]]
    both = _shares(masks, masks) * areas[:, None]  # pixels that two masks have in common
    np.fill_diagonal(both, 0)
    iou = both / (areas[:, None] + areas - both)
    duplicates = iou >= DUPLICATE_IOU
    overlaps = np.where(duplicates, 0, both / np.minimum(areas[:, None], areas))
    clicked = _shares(pixels, masks) > 0  # (clicks, masks)
    names = [row["object"] for row in rows]
    return [
        Neighbours(
            *_largest(overlaps[number], names),
            *_largest(np.where(duplicates, iou, 0)[number], names),
            *_lost(clicked[[owner == number for owner in owners]], number, names),
        )
        for number in range(len(rows))
    ]


def _shares(inner: Sequence[Mapping[str, Any]], outer: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Of every inner mask, the share that is in each outer one: (inner, outer)."""
    if not inner:
        return np.zeros((0, len(outer)))
    # COCO's measure against a crowd is the intersection over the first mask's area.
    return np.asarray(coco_mask.iou(list(inner), list(outer), [1] * len(outer)))


def _pixel(click: Mapping[str, Any], height: int, width: int) -> Mapping[str, Any]:
    """The mask of the one pixel that was clicked; the edge's for a click beyond it."""
    x, y = (min(max(round(click[axis]), 0), side - 1) for axis, side in (("x", width), ("y", height)))
    before = x * height + y
    counts = {"size": [height, width], "counts": [before, 1, height * width - before - 1]}
    rle: Mapping[str, Any] = coco_mask.frPyObjects(counts, height, width)
    return rle


def _largest(values: np.ndarray, names: Sequence[str]) -> tuple[float, str | None]:
    best = int(values.argmax())
    return (float(values[best]), names[best]) if values[best] > 0 else (0.0, None)


def _lost(clicked: np.ndarray, number: int, names: Sequence[str]) -> tuple[int, str | None]:
    lost = clicked[~clicked[:, number]]
    takers = lost.sum(axis=0)
    return len(lost), names[int(takers.argmax())] if takers.any() else None
