"""The index: for every object of a library the digest of what it was labelled from, and where its mask is.

Each night that changed something adds one file and touches no other. Of an object's rows the newest night's counts.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Any

import duckdb
import pyarrow as pa

from pipeline.store import Store

INDEX = pa.schema(
    [
        ("image", pa.string()),
        ("object", pa.string()),
        ("digest", pa.binary()),  # of the clicks, the category and the image's ETag
        ("settings", pa.string()),  # fingerprint of backbone, weights and settings
        ("part", pa.string()),  # key of the part with the object's row, below the library
        ("reason", pa.string()),  # why it has no mask and will have none before its clicks or image change
        ("removed", pa.bool_()),  # its clicks are gone
    ]
)
MEMORY_LIMIT = "300MB"
ROWS_A_BATCH = 20_000


@dataclass(frozen=True)
class Known:
    """What the library knows of one object."""

    object: str
    digest: bytes
    settings: str
    part: str
    reason: str | None
    removed: bool


class Index:
    """The newest row of every object, in a temporary database on disk that is removed at exit: its table `newest`."""

    def __init__(self, store: Store, keys: Sequence[str]) -> None:
        """Fetch the index files `keys`, oldest night first."""
        self._directory = tempfile.TemporaryDirectory(prefix="m2n2-index-")
        self.database = open_database(Path(self._directory.name) / "index.duckdb")
        files = [Path(self._directory.name) / f"{number:06d}.parquet" for number in range(len(keys))]
        for file, key in zip(files, keys, strict=True):
            file.write_bytes(store.read(key))
        columns = ", ".join(INDEX.names)
        if not files:
            self.database.register("empty", INDEX.empty_table())
            self.database.execute("CREATE TABLE newest AS SELECT * FROM empty")
            return
        self.database.execute(
            f"""CREATE TABLE newest AS SELECT {columns}
                FROM read_parquet(?, filename = 'night')
                QUALIFY row_number() OVER (PARTITION BY image, object ORDER BY night DESC) = 1
                ORDER BY image""",
            [[str(file) for file in files]],
        )

    def __enter__(self) -> Index:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.database.close()
        self._directory.cleanup()

    def by_image(self) -> Iterator[tuple[str, dict[str, Known]]]:
        """Every image of the library, sorted, with its objects by name."""
        rows = stream(self.database.cursor(), "SELECT * FROM newest ORDER BY image")
        for image, members in groupby(rows, key=lambda row: str(row.pop("image"))):
            yield image, {row["object"]: Known(**row) for row in members}


def open_database(path: Path) -> duckdb.DuckDBPyConnection:
    """A database on disk that keeps to MEMORY_LIMIT and spills beside itself."""
    database = duckdb.connect(str(path))
    database.execute(f"SET memory_limit='{MEMORY_LIMIT}'; SET preserve_insertion_order=false; SET threads=2")
    return database


def stream(database: duckdb.DuckDBPyConnection, query: str) -> Iterator[dict[str, Any]]:
    """The rows of a query, a batch in memory at a time."""
    for batch in database.sql(query).to_arrow_reader(ROWS_A_BATCH):
        yield from batch.to_pylist()
