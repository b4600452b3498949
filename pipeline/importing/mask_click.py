"""The most interior point of a mask as COCO writes masks: polygons, or run lengths with or without compression."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from m2n2.kernels.distance_transform import squared_depth
from m2n2.kernels.run_lengths import read_counts
from pipeline.importing import fields
from pipeline.importing.objects import BadRecord, Click

MOST_PIXELS = 100_000_000
BEYOND = 1.0  # times the image's side, that a polygon may reach beyond it
COUNT_CHARACTERS = range(48, 48 + 64)  # six bits a character


def interior_click(segmentation: Any, size: tuple[float, float] | None, place: str) -> Click:
    """A click on the pixel of the mask that is farthest from everything outside. Raises BadRecord.

    Args:
        size: the image's width and height, which polygons need.
    """
    if isinstance(segmentation, dict):
        mask_HW = _runs_to_mask(segmentation, place)
        if size is not None and mask_HW.shape != (size[1], size[0]):
            raise BadRecord(place, "segmentation.size", list(mask_HW.shape), f"{[size[1], size[0]]}, as the image has")
    else:
        mask_HW = _polygons_to_mask(fields.sequence(segmentation, "segmentation", place), size, place)
    rows, columns = np.flatnonzero(mask_HW.any(axis=1)), np.flatnonzero(mask_HW.any(axis=0))
    if not len(rows):
        raise BadRecord(place, "segmentation", "no pixel", "a mask with pixels")
    top, left = int(rows[0]), int(columns[0])
    crop = np.ascontiguousarray(mask_HW[top : rows[-1] + 1, left : columns[-1] + 1])
    y, x = np.unravel_index(int(np.argmax(squared_depth(crop))), crop.shape)
    return float(left + x), float(top + y), True


def _polygons_to_mask(polygons: Sequence[Any], size: tuple[float, float] | None, place: str) -> np.ndarray:
    if size is None:
        raise BadRecord(place, "segmentation", "polygons", "polygons of an image whose width and height are given")
    width, height = _checked_size(*size, place)
    rings = []
    for number, ring in enumerate(polygons):
        name = f"segmentation[{number}]"
        values = [fields.number(value, name, place) for value in fields.sequence(ring, name, place)]
        if len(values) < 6 or len(values) % 2:
            raise BadRecord(place, name, f"{len(values)} numbers", "x, y of at least three corners")
        points = np.array(values).reshape(-1, 2)
        # The rasteriser's work grows with a polygon's length, however little of it is on the image.
        if (points < [-BEYOND * width, -BEYOND * height]).any() or (
            points > [(1 + BEYOND) * width, (1 + BEYOND) * height]
        ).any():
            raise BadRecord(place, name, points.tolist(), f"corners on an image of {width}x{height} pixels, or near it")
        rings.append(values)
    if not rings:
        raise BadRecord(place, "segmentation", polygons, "at least one polygon")
    return np.asarray(coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(rings, height, width))), bool)


def _runs_to_mask(segmentation: dict[str, Any], place: str) -> np.ndarray:
    sides = fields.sequence(segmentation.get("size"), "segmentation.size", place)
    if len(sides) != 2:
        raise BadRecord(place, "segmentation.size", sides, "height and width")
    height, width = (fields.side(side, "segmentation.size", place) for side in sides)
    columns, rows = _checked_size(width, height, place)
    counts = segmentation.get("counts")
    if isinstance(counts, str):
        runs = _compressed(counts, place)
    else:
        numbers = fields.sequence(counts, "segmentation.counts", place)
        runs = np.array([fields.number(value, "segmentation.counts", place) for value in numbers])
    if len(runs) == 0 or (runs < 0).any() or (runs != np.floor(runs)).any() or runs.sum() != rows * columns:
        found = f"{len(runs)} run lengths that add up to {runs.sum():g}"
        raise BadRecord(place, "segmentation.counts", found, f"whole numbers that add up to {rows * columns}")
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs.astype(np.int64)).reshape(columns, rows).T


def _compressed(counts: str, place: str) -> np.ndarray:
    characters = np.frombuffer(counts.encode("ascii", errors="replace"), np.uint8)
    whole = len(characters) > 0 and not (int(characters[-1]) - 48) & 32  # the last number is not cut off
    if not whole or characters.min() not in COUNT_CHARACTERS or characters.max() not in COUNT_CHARACTERS:
        raise BadRecord(place, "segmentation.counts", counts, "run lengths as COCO's own tools compress them")
    return read_counts(characters).astype(np.float64)


def _checked_size(width: float, height: float, place: str) -> tuple[int, int]:
    if width * height > MOST_PIXELS or width != int(width) or height != int(height):
        raise BadRecord(place, "size of the image", [width, height], f"whole numbers, at most {MOST_PIXELS} pixels")
    return int(width), int(height)
