"""The newest mask of every object of a library, across its nights, in the order of images; memory stays bounded."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from pipeline.export.coco import export_coco
from pipeline.library.index import Index, open_database, stream
from pipeline.library.ledger import read_state
from pipeline.parts import PART, Row
from pipeline.plan import fingerprint_of
from pipeline.storage.store import Store


def export_library(library: Store, target: Store, key: str) -> str:
    """Write the library's masks as COCO instances to `key` of `target`; returns its address.

    Objects whose clicks are gone, and those without a mask, are left out. The same library gives the same bytes.
    """
    keys = read_state(library).index_keys
    with (
        tempfile.TemporaryDirectory(prefix="m2n2-export-") as directory,
        Index(library, keys) as index,
        open_database(Path(directory) / "masks.duckdb") as database,
    ):
        _gather_masks(library, index, database)

        def image_rows(columns: Sequence[str]) -> Iterator[list[Row]]:
            return _by_image(database, columns)

        return export_coco(image_rows, fingerprint_of({"index": keys}), target, key)


def _gather_masks(library: Store, index: Index, database: duckdb.DuckDBPyConnection) -> None:
    """Fill the table `masks`, a part in memory at a time, sorted by image and object."""
    database.execute(
        """CREATE TABLE alive AS SELECT image, object, part FROM read_parquet(?)
           WHERE reason IS NULL AND NOT removed ORDER BY part""",
        [str(index.path)],
    )
    database.register("no_masks", PART.empty_table())
    database.execute("CREATE TABLE unsorted AS SELECT * FROM no_masks")
    for (key,) in database.execute("SELECT DISTINCT part FROM alive ORDER BY part").fetchall():
        database.register("part_rows", pq.read_table(io.BytesIO(library.read(key)), schema=PART))
        database.execute(
            """INSERT INTO unsorted SELECT part_rows.*
               FROM part_rows JOIN (FROM alive WHERE part = ?) USING (image, object)""",
            [key],
        )
    database.execute("CREATE TABLE masks AS SELECT * FROM unsorted ORDER BY image, object")
    database.execute("DROP TABLE unsorted")


def _by_image(database: duckdb.DuckDBPyConnection, columns: Sequence[str]) -> Iterator[list[Row]]:
    query = f"SELECT {', '.join(columns)} FROM masks ORDER BY image, object"
    for _, rows in groupby(stream(database.cursor(), query), key=lambda row: row["image"]):
        yield list(rows)
