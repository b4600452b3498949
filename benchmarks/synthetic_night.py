"""A library as one night left it, and the images and clicks of the next, which finds little new: of any size.

The images are files of one byte, and no part is there: a night reads parts only of what changed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from benchmarks.synthetic_output import OBJECTS_AN_IMAGE, chunks, image_names, index_table, object_names, write_tables
from pipeline.clicks import ObjectClicks
from pipeline.library.changes import digest_of
from pipeline.storage.store import Store

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
