"""The index: for every object of a library the digest of what it was labelled from, and where its mask is.

Each night that changed something adds one file and touches no other. Of an object's rows the newest night's counts.
`m2n2 library compact` folds many nights' files into one, see compact.py.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.library.in_order.in_step import tables_of
from pipeline.storage.store import Store

INDEX = pa.schema(
    [
        ("image", pa.string()),
        ("object", pa.string()),
        ("digest", pa.binary()),  # of the clicks, the category and the image's ETag
        ("settings", pa.string()),  # fingerprint of backbone, weights and settings
        ("part", pa.string()),  # key of the part with the object's row, below the library
        ("reason", pa.string()),  # why it has no mask and will have none before its clicks or image change
        ("removed", pa.bool_()),  # its clicks are gone
        ("category", pa.string()),  # null in what version 0.1 wrote, as is all that follows
        ("tried", pa.binary()),  # digest and settings of labelling that failed in a way that may pass
        ("tried_reason", pa.string()),  # how it failed
        ("tries", pa.int32()),  # how many nights in a row
    ]
)
HAS_MASK = "reason IS NULL AND NOT removed"
MEMORY_LIMIT = "300MB"
ROWS_A_BATCH = 20_000


class Known(NamedTuple):
    """What the library knows of one object; see INDEX. `digest` is empty where nothing was labelled yet, only tried."""

    object: str
    digest: bytes
    settings: str
    part: str
    reason: str | None
    removed: bool
    category: str | None
    tried: bytes | None
    tried_reason: str | None
    tries: int | None


@dataclass(frozen=True)
class Totals:
    """Objects of a library whose clicks are there, and those of them whose newest labelling failed, by reason."""

    objects: int
    failed: dict[str, int]


class Index:
    """The newest row of every object, sorted by image, in the Parquet file `path` that is removed at exit."""

    def __init__(self, store: Store, keys: Sequence[str]) -> None:
        """Fetch the index files `keys`, oldest night first, and merge them out of core; one alone stays as it is."""
        self._directory = tempfile.TemporaryDirectory(prefix="m2n2-index-")
        directory = Path(self._directory.name)
        self.path = directory / "newest.parquet"
        files = [directory / f"{number:06d}.parquet" for number in range(len(keys))]
        for file, key in zip(files, keys, strict=True):
            store.get_file(key, file)
        if len(files) == 1 and pq.read_schema(files[0]).names == INDEX.names:
            self.path = files[0]
        elif files:
            _merge(directory, files, self.path)
        else:
            pq.write_table(INDEX.empty_table(), self.path)

    def __enter__(self) -> Index:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._directory.cleanup()

    def by_image(self) -> Iterator[tuple[str, dict[str, Known]]]:
        """Every image of the library, sorted, with its objects by name."""
        for image, rows in groupby(self._rows(), key=itemgetter(0)):
            yield image, {row[1]: Known(*row[1:]) for row in rows}

    def totals(self) -> Totals:
        """Count the objects."""
        with duckdb.connect() as database:
            database.execute("SET enable_progress_bar=false")
            rows = database.execute(
                """SELECT coalesce(tried_reason, reason), count(*) FROM read_parquet($path)
                   WHERE NOT removed GROUP BY 1 ORDER BY 2 DESC, 1""",
                {"path": str(self.path)},
            ).fetchall()
        return Totals(sum(number for _, number in rows), {reason: number for reason, number in rows if reason})

    def _rows(self) -> Iterator[tuple[Any, ...]]:
        with pq.ParquetFile(self.path) as file:
            for batch in file.iter_batches(ROWS_A_BATCH, columns=INDEX.names):
                yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def open_database(path: Path) -> duckdb.DuckDBPyConnection:
    """A database on disk that keeps to MEMORY_LIMIT and spills beside itself."""
    database = duckdb.connect(str(path))
    database.execute(f"SET memory_limit='{MEMORY_LIMIT}'; SET preserve_insertion_order=false; SET threads=2")
    database.execute("SET enable_progress_bar=false")  # it would stand in what the command says
    return database


def with_a_mask(index: Path, columns: Sequence[str]) -> Iterator[pa.Table]:
    """These columns of the objects of an index file that have a mask, as they stand there, a batch at a time."""
    kept = {*columns, "reason", "removed"}
    for rows in tables_of(index, kept):
        has_mask = pc.and_(rows["reason"].is_null(), pc.invert(rows["removed"]))
        yield rows.filter(has_mask).select(list(columns))


def _merge(directory: Path, files: Sequence[Path], target: Path) -> None:
    # The database is closed again before anything else needs memory.
    with open_database(directory / "merge.duckdb") as database:
        database.register("no_rows", INDEX.empty_table())
        nights = database.sql(
            f"""SELECT {", ".join(INDEX.names)}
                FROM (FROM no_rows
                      UNION ALL BY NAME FROM read_parquet($files, filename = 'night', union_by_name = true))
                ORDER BY image, object, night""",
            params={"files": [str(file) for file in files]},
        )
        with pq.ParquetWriter(target, INDEX, compression="zstd") as writer:
            for rows in _last_of_each(nights.to_arrow_reader(ROWS_A_BATCH)):
                writer.write_table(rows)


def _last_of_each(sorted_rows: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Of consecutive rows of one object the last."""
    last = INDEX.empty_table()
    for batch in sorted_rows:
        rows = pa.concat_tables([last, pa.Table.from_batches([batch]).cast(INDEX)])
        earlier, later = rows.slice(0, max(0, rows.num_rows - 1)), rows.slice(1)
        again = pc.and_(*(pc.equal(earlier[name], later[name]) for name in ("image", "object")))
        yield earlier.filter(pc.invert(again))
        last = rows.slice(earlier.num_rows)
    yield last
