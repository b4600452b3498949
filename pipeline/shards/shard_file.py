"""What stands in one shard: images with their objects and clicks, a row an object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from pipeline.clicks import CLICK, ObjectClicks
from pipeline.failure import Failure
from pipeline.shards.shard_table import Shard
from pipeline.storage.parquet import parquet_bytes, read_parquet

SHARD = pa.schema(
    [
        ("image", pa.string()),
        ("object", pa.string()),
        ("category", pa.string()),
        ("clicks", pa.list_(CLICK)),
        ("reason", pa.string()),
        ("message", pa.string()),
    ]
)
# Only in shards with boxes: any other stays what it was, to the byte.
BOX = "box"
SHARD_WITH_BOXES = SHARD.append(pa.field(BOX, pa.list_(pa.float64(), 4)))


@dataclass(frozen=True)
class ImageClicks:
    """One image of a shard: its key and its objects, all of them, failed ones included."""

    image: str
    objects: tuple[ObjectClicks, ...]


def shard_key(root: str, shard: Shard) -> str:
    """The key of a shard's file below the output; `root` is its plan's."""
    return f"{root}plan/shard-{shard.index:05d}-{shard.sha256[:8]}.parquet"


def shard_bytes(images: Sequence[ImageClicks]) -> bytes:
    """A shard's file."""
    objects = [each for image in images for each in image.objects]
    columns = {
        "image": [each.image for each in objects],
        "object": [each.object for each in objects],
        "category": [each.category for each in objects],
        "clicks": [each.clicks for each in objects],
        "reason": [each.failure.reason if each.failure else None for each in objects],
        "message": [each.failure.message if each.failure else None for each in objects],
    }
    schema = SHARD
    if any(each.box for each in objects):
        schema, columns[BOX] = SHARD_WITH_BOXES, [each.box for each in objects]
    return parquet_bytes(pa.Table.from_pydict(columns, schema=schema))


def images_of(data: bytes, name: str) -> list[ImageClicks]:
    """The images of a shard's file, in the plan's order. Raises DamagedObject, which names the file by `name`."""
    images: dict[str, list[ObjectClicks]] = {}
    for row in read_parquet(data, name).to_pylist():
        failure = Failure(row["reason"], row["message"]) if row["reason"] else None
        box = row.get(BOX)
        clicks = ObjectClicks(
            row["image"], row["object"], row["category"], row["clicks"], failure, tuple(box) if box else None
        )
        images.setdefault(row["image"], []).append(clicks)
    return [ImageClicks(image, tuple(objects)) for image, objects in images.items()]
