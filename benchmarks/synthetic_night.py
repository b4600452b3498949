"""A library of any size as one night left it, and the next night, which finds little new or has labelled all anew.

Where little is new the images are files of one byte, and no part is there: a night reads parts only of what changed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from benchmarks.synthetic_output import (
    OBJECTS_AN_IMAGE,
    chunks,
    image_names,
    index_table,
    object_names,
    write_library,
    write_run,
    write_tables,
)
from pipeline.clicks import ObjectClicks
from pipeline.library.changes import CHANGES, digest_of
from pipeline.storage.store import Store

RELABELLED = "runs/2026-01-02"
CLICK = {"x": 5.0, "y": 5.0, "label": True}


def write_night(directory: Path, objects: int, objects_a_part: int) -> None:
    """`nightly.yaml` in `directory`: the library of so many objects, and images and clicks of exactly these."""
    add_objects(directory, range(objects))
    etag = Store(str(directory / "photos")).info(image_names(np.arange(1))[0].as_py()).etag
    # All objects have the same click, and all images the same time and size.
    digest = pa.array([digest_of(ObjectClicks("", "", "object", (CLICK,), None), etag)])

    def index() -> Iterator[pa.Table]:
        for rows in chunks(objects):
            table = index_table(rows, objects_a_part)
            place = table.schema.get_field_index("digest")
            yield table.set_column(place, table.schema.field(place), digest.take(pa.array(np.zeros(len(rows), int))))

    write_tables(Store(str(directory / "library")), objects, index(), directory)
    document = {
        "library": str(directory / "library"),
        "images": str(directory / "photos"),
        "clicks": str(directory / "clicks"),
        "backbone": {"name": "colour"},
        "workers": {"count": 16},
    }
    (directory / "nightly.yaml").write_text(yaml.safe_dump(document))


def write_relabelled(directory: Path, objects: int, objects_a_part: int) -> None:
    """In `directory`: a library of one night, and a night that labelled all of its objects anew and is not settled."""
    library = Store(str(directory / "library"))
    write_library(library, objects, objects_a_part, directory)
    write_run(Store(library.url(RELABELLED)), objects, objects_a_part, first_mask=1)
    path = directory / "changes.parquet"
    with pq.ParquetWriter(path, CHANGES, compression="zstd") as writer:
        for rows in chunks(objects):
            known = index_table(rows, objects_a_part)
            columns = {name: known[name] for name in ("image", "object", "category", "digest", "settings")}
            columns |= {f"old_{name}": known[name] for name in ("part", "reason", "digest", "settings")}
            columns |= {"kind": pa.array(["changed"] * len(rows)), "tried": known["digest"]}
            columns |= {"tries": pa.array(np.ones(len(rows), np.int32))}
            writer.write_table(pa.table([columns[name] for name in CHANGES.names], schema=CHANGES))
    library.put(f"{RELABELLED}/changes.parquet", path)


def add_objects(directory: Path, numbers: range) -> None:
    """Images and clicks of these objects; `numbers` begin and end with an image."""
    (directory / "clicks").mkdir(exist_ok=True)
    for rows in chunks(len(numbers)):
        rows += numbers.start
        names, once = image_names(rows), np.full(len(rows), 5.0)
        table = pa.table({"image": names, "object": object_names(rows), "x": once, "y": once})
        pq.write_table(table, directory / "clicks" / f"{rows[0]:012d}.parquet")
        for name in names.to_pylist()[::OBJECTS_AN_IMAGE]:
            path = directory / "photos" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
            os.utime(path, (1, 1))
