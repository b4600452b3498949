"""Outputs and libraries of any size, as if they had been labelled: plans, parts, index and registry, without the work.

The masks are a thousand different circles, so that they take the room that real masks take.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pycocotools import mask as coco_mask

from pipeline.library.index import INDEX
from pipeline.library.ledger import Night, State, append_state
from pipeline.library.registry import REGISTRY
from pipeline.manifests.manifest import COLUMNS, block_of, put_manifest, row_of
from pipeline.parts import PART, Row, part_key
from pipeline.plan import Plan, seal_plan
from pipeline.provenance import part_metadata
from pipeline.shards.shard_table import Shard, ShardTable
from pipeline.storage.parquet import parquet_bytes
from pipeline.storage.read_ahead import in_order
from pipeline.storage.store import Store

OBJECTS_AN_IMAGE = 5
MASKS = 1000
HEIGHT, WIDTH = 480, 640
PUTS_AT_ONCE = 16
PART_ROWS_AT_ONCE = 10_000
INDEX_ROWS_AT_ONCE = 500_000
IDENTITY = {
    "head_version": 1,
    "images": "synthetic://",
    "backbone": {"name": "colour", "options": {}},
    "weights": None,
    "clicks": {},
}
RUN = "runs/2026-01-01"


def write_run(
    store: Store,
    objects: int,
    objects_a_shard: int,
    failed_every: int = 0,
    manifests: bool = False,
    first_mask: int = 0,
    put_part: Callable[[str, bytes], None] | None = None,
) -> Plan:
    """A complete run: its plan's seal and all its parts, but no shards of the plan.

    Args:
        failed_every: one object in so many has failed; 0: none.
        manifests: also the manifests of all shards, as the run's end writes them.
        first_mask: which of the masks the first object has.
        put_part: what puts an object into the store in less time than the store does.
    """
    firsts = range(0, objects, objects_a_shard)
    shards = (
        Shard(
            number,
            -(-min(objects_a_shard, objects - first) // OBJECTS_AN_IMAGE),
            min(objects_a_shard, objects - first),
            hashlib.sha256(str(number).encode()).hexdigest(),
        )
        for number, first in enumerate(firsts)
    )
    plan = seal_plan(store, "", IDENTITY, [], ["object"], ShardTable.of(shards))
    metadata = {"fingerprint": plan.fingerprint, "shards": plan.shards_digest} | part_metadata(plan)

    def tables() -> Iterator[tuple[int, pa.Table]]:
        """The shards' rows by the shards' numbers, made for many shards at once."""
        together = max(1, PART_ROWS_AT_ONCE // objects_a_shard)
        for begin in range(0, len(firsts), together):
            numbers = range(begin, min(begin + together, len(firsts)))
            rows = np.arange(firsts[begin], min(firsts[numbers[-1]] + objects_a_shard, objects))
            table = part_table(rows, failed_every, first_mask)
            for place, number in enumerate(numbers):
                yield number, table.slice(place * objects_a_shard, objects_a_shard)

    def put(part: tuple[int, pa.Table]) -> Row:
        number, rows = part
        table = rows.replace_schema_metadata(metadata | {"shard": str(number)})
        data = parquet_bytes(table)
        if put_part is not None:
            put_part(part_key("", number), data)
        else:
            # Not `put`, which waits until a disk has written each part.
            scratch = Path(directory) / str(number)
            scratch.write_bytes(data)
            store.put_file(part_key("", number), scratch)
            scratch.unlink()
        digest = hashlib.sha256(data).hexdigest()
        return row_of(store, plan, number, table.select(COLUMNS)) | {"size": len(data), "sha256": digest}

    with tempfile.TemporaryDirectory() as directory:
        for block, members in groupby(in_order(put, tables(), PUTS_AT_ONCE), key=lambda row: block_of(row["shard"])):
            checked = list(members)
            if manifests:
                put_manifest(store, plan, block, checked)
    return plan


def write_library(library: Store, objects: int, objects_a_part: int, scratch: Path) -> None:
    """A library of one night; index and registry are made in the folder `scratch`."""
    write_run(Store(library.url(RUN), library.storage), objects, objects_a_part)
    write_tables(library, objects, (index_table(rows, objects_a_part) for rows in chunks(objects)), scratch)


def write_tables(library: Store, objects: int, index_tables: Iterable[pa.Table], scratch: Path) -> None:
    """Index, registry and ledger of a library of one night."""
    with pq.ParquetWriter(scratch / "index.parquet", INDEX, compression="zstd") as index:
        for table in index_tables:
            index.write_table(table)
    with pq.ParquetWriter(scratch / "registry.parquet", REGISTRY, compression="zstd") as registry:
        registry.write_table(_registry_table("category", pa.array(["object"]), pa.nulls(1, pa.string()), np.ones(1)))
        images = -(-objects // OBJECTS_AN_IMAGE)
        for rows in chunks(images):
            names = image_names(rows * OBJECTS_AN_IMAGE)
            registry.write_table(_registry_table("image", names, pa.nulls(len(rows), pa.string()), rows + 1))
        for rows in chunks(objects):
            registry.write_table(_registry_table("object", image_names(rows), object_names(rows), rows + 1))
    for name in ("index", "registry"):
        library.put_file(f"{name}/2026-01-01.parquet", scratch / f"{name}.parquet")
    night = Night("2026-01-01", RUN, "finished", "index/2026-01-01.parquet", "registry/2026-01-01.parquet")
    append_state(library, State(1, None, (night,)))


def part_table(rows: np.ndarray, failed_every: int = 0, first_mask: int = 0) -> pa.Table:
    """The part of the objects with these numbers, without metadata."""
    length, which = len(rows), (rows + first_mask) % MASKS
    failed = rows % failed_every == 0 if failed_every else np.zeros(length, bool)
    masks = {name: column.take(pa.array(which, mask=failed)) for name, column in _masks().items()}
    error = pa.StructArray.from_arrays(
        [pa.array([text] * length) for text in ("decode", "image_damaged", "the image cannot be decoded")]
        + [pa.array([False] * length)],
        fields=list(PART.field("error").type),
        mask=pa.array(~failed),
    )
    columns: dict[str, Any] = {
        "image": image_names(rows),
        "width": pa.array(np.full(length, WIDTH)),
        "height": pa.array(np.full(length, HEIGHT)),
        "object": object_names(rows),
        "category": pa.array(["object"] * length),
        "score": pa.array(rows % 100 / 100, mask=failed),
        "clicks": pa.array(np.ones(length, int)),
        "seconds": pa.array(np.full(length, 0.1)),
        "error": error,
        "clicks_digest": pa.array([f"{row:016x}" for row in rows.tolist()]),
        "evidence": pa.nulls(length, PART.field("evidence").type),
    }
    return pa.table([(columns | masks)[field.name].cast(field.type) for field in PART], schema=PART)


def index_table(rows: np.ndarray, objects_a_part: int) -> pa.Table:
    """Rows of a library's index."""
    length = len(rows)
    parts = [f"{RUN}/{part_key('', number)}" for number in (rows // objects_a_part).tolist()]
    empty = ("reason", "tried", "tried_reason", "tries")
    columns: dict[str, Any] = {
        "image": image_names(rows),
        "object": object_names(rows),
        "digest": pa.array([hashlib.sha256(row.to_bytes(8)).digest() for row in rows.tolist()]),
        "settings": pa.array(["0" * 64] * length),
        "part": pa.array(parts),
        "removed": pa.array(np.zeros(length, bool)),
        "category": pa.array(["object"] * length),
    }
    columns |= {name: pa.nulls(length, INDEX.field(name).type) for name in empty}
    return pa.table([columns[field.name] for field in INDEX], schema=INDEX)


def _registry_table(kind: str, names: pa.Array, objects: pa.Array, ids: np.ndarray) -> pa.Table:
    columns = [pa.array([kind] * len(names)), names, objects, pa.array(ids).cast(pa.int64())]
    return pa.table([*columns, pa.nulls(len(names), pa.string())], schema=REGISTRY)


@cache
def _masks() -> dict[str, pa.Array]:
    random, encoded = np.random.default_rng(0), []
    down, right = np.mgrid[:HEIGHT, :WIDTH]
    for _ in range(MASKS):
        y, x, radius = random.uniform(60, 420), random.uniform(60, 580), random.uniform(10, 60)
        circle = (down - y) ** 2 + (right - x) ** 2 < radius**2
        encoded.append(coco_mask.encode(np.asfortranarray(circle, np.uint8)))
    rle = [{"size": each["size"], "counts": each["counts"].decode()} for each in encoded]
    return {
        "rle": pa.array(rle, PART.field("rle").type),
        "bbox": pa.array([coco_mask.toBbox(each).tolist() for each in encoded], PART.field("bbox").type),
        "area": pa.array([int(coco_mask.area(each)) for each in encoded], pa.int64()),
    }


def image_names(rows: np.ndarray) -> pa.Array:
    """The images of the objects with these numbers."""
    images = (rows // OBJECTS_AN_IMAGE).tolist()
    return pa.array([f"{image // 1000:06d}/{image:09d}.jpg" for image in images])


def object_names(rows: np.ndarray) -> pa.Array:
    """The names of the objects with these numbers."""
    return pa.array([f"object-{number}" for number in (rows % OBJECTS_AN_IMAGE).tolist()])


def chunks(rows: int) -> Iterator[np.ndarray]:
    """The numbers up to `rows`, some at a time."""
    for first in range(0, rows, INDEX_ROWS_AT_ONCE):
        yield np.arange(first, min(first + INDEX_ROWS_AT_ONCE, rows))
