"""Small photos and clicks that tests make themselves: coloured discs, whose masks are known."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from pipeline.plan import Plan
from pipeline.shards.shard_table import ShardTable
from pipeline.storage.store import Store

DISCS = [((30, 30), (220, 40, 40)), ((66, 44), (40, 60, 220))]  # centre (x, y), colour
RADIUS = 14
EMPTY_PLAN = Plan("", "", {}, (), "", ShardTable.of(()))  # where only what is done with its tasks counts


def picture(width: int = 96, height: int = 72) -> np.ndarray:
    """Two discs on grey: (height, width, 3) uint8."""
    pixels = np.full((height, width, 3), 128, np.uint8)
    for number in range(len(DISCS)):
        pixels[disc(number, width, height)] = DISCS[number][1]
    return pixels


def disc(number: int, width: int = 96, height: int = 72) -> np.ndarray:
    """The true mask of one disc."""
    (x, y), _ = DISCS[number]
    rows, columns = np.mgrid[:height, :width]
    return np.asarray((columns - x) ** 2 + (rows - y) ** 2 <= RADIUS**2)


def encode(pixels: np.ndarray, file_format: str = "PNG", **options: Any) -> bytes:
    """The bytes of an image file."""
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, file_format, **options)
    return sink.getvalue()


def click_rows(image: str, objects: Sequence[int] = (0, 1)) -> list[dict[str, Any]]:
    """One click in the middle of each disc, in categories red and blue."""
    names = ["red", "blue"]
    return [
        {"image": image, "object": str(n), "x": float(DISCS[n][0][0]), "y": float(DISCS[n][0][1]), "label": True}
        | {"category": names[n]}
        for n in objects
    ]


def parquet(rows: Sequence[dict[str, Any]] | pa.Table) -> bytes:
    """Rows as the bytes of a Parquet file."""
    table = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(list(rows))
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def put_dataset(store: Store, images: int) -> dict[str, Any]:
    """`images` photos with two clicks each below a store; returns the job document for it, without weights."""
    for number in range(images):
        store.put(f"photos/{number:04d}.png", encode(picture()))
    rows = [row for number in range(images) for row in click_rows(f"{number:04d}.png")]
    store.put("clicks/a.parquet", parquet(rows[: len(rows) // 2]))
    store.put("clicks/b.parquet", parquet(rows[len(rows) // 2 :]))
    return {
        "images": store.url("photos/"),
        "clicks": store.url("clicks/*.parquet"),
        "output": store.url("labels/"),
        "backbone": {"name": "colour", "grid": 16},
        "workers": {"count": 1, "gpus": 0, "cpus": 1},
        "storage": {"endpoint_url": store.storage.endpoint_url},
        "shard_images": 2,
    }
