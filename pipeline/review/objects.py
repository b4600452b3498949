"""What is known of every object of a run or library, a row each: its mask's figures, and how it stands to others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from typing import Any

import pyarrow as pa

from pipeline.parts import Row
from pipeline.review.neighbours import Neighbours, compare_masks
from pipeline.review.source import Source

IMAGES_AT_ONCE = 256
SCORE_DIGITS = 6  # more are noise of its 32 bits
OBJECT = pa.schema(
    [
        ("image", pa.string()),
        ("object", pa.string()),
        ("category", pa.string()),
        ("image_id", pa.int64()),
        ("annotation_id", pa.int64()),
        ("score", pa.float64()),
        ("area", pa.int64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("clicks", pa.int32()),
        ("failure", pa.string()),
        ("overlap", pa.float64()),
        ("overlap_with", pa.string()),
        ("duplicate", pa.float64()),
        ("duplicate_of", pa.string()),
        ("lost_clicks", pa.int32()),
        ("lost_to", pa.string()),
    ]
)


def objects_of(source: Source) -> Iterator[Row]:
    """A row of OBJECT for every object: those of the labels, an image's compared with each other, then the others."""
    columns = ["category", "rle", "area", "score", "width", "height", "clicks"]
    images = source.labels.images(columns)
    while batch := list(islice(images, IMAGES_AT_ONCE)):
        clicks = source.clicks(batch)
        for image in batch:
            of_objects = [clicks.get((row["image"], row["object"]), ()) for row in image.rows]
            for row, neighbours in zip(image.rows, compare_masks(image.rows, of_objects), strict=True):
                yield _object(row, image.id) | asdict(neighbours)
    for unlabelled in source.unlabelled():
        yield {**unlabelled, "failure": unlabelled["reason"], **asdict(Neighbours())}


def _object(row: Row, image_id: int) -> dict[str, Any]:
    names = ("image", "object", "category", "width", "height", "clicks", "area")
    return {name: row[name] for name in names} | {
        "image_id": image_id,
        "annotation_id": row["id"],
        "score": None if row["score"] is None else round(row["score"], SCORE_DIGITS),
        "failure": row["error"] and row["error"]["reason"],
    }
