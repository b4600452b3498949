"""Tables on this machine that are sorted by image, read side by side: each join is of a few images then.

A database joins two tables by keeping one of them; beyond some millions of rows no memory limit is enough for that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

ROWS_AT_ONCE = 50_000


def in_step(leading: Iterable[pa.Table], *others: Path) -> Iterator[tuple[pa.Table, ...]]:
    """The leading rows, some at a time and all of an image together, with the rows of the others between these images.

    Args:
        leading: sorted by `image`, within a table and from one to the next.
        others: Parquet files that are sorted by `image`.

    Raises:
        ValueError: something is not sorted.
    """
    following = [_Following(path) for path in others]
    for table in _whole_images(leading):
        first, last = table["image"][0].as_py(), table["image"][-1].as_py()
        yield table, *(each.between(first, last) for each in following)


def tables_of(path: Path, columns: Iterable[str] | None = None) -> Iterator[pa.Table]:
    """A Parquet file's rows in their order, ROWS_AT_ONCE at a time."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(ROWS_AT_ONCE, columns=columns and list(columns), use_threads=False):
            yield pa.Table.from_batches([batch])


def _whole_images(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows, cut where an image ends."""
    rest: pa.Table | None = None
    for table in tables:
        rest = _sorted(table if rest is None else pa.concat_tables([rest, table]).combine_chunks())
        if rest.num_rows:
            complete = pc.less(rest["image"], rest["image"][-1])
            if (found := rest.filter(complete)).num_rows:
                yield found
                rest = rest.filter(pc.invert(complete))
    if rest is not None and rest.num_rows:
        yield rest


class _Following:
    """A file that is read as far as somebody asks."""

    def __init__(self, path: Path) -> None:
        self._tables = tables_of(path)
        self._read = pq.read_schema(path).empty_table()

    def between(self, first: str, last: str) -> pa.Table:
        """The rows of these images and of those between them; what stood before is let go."""
        tables = [self._read]
        while (newest := tables[-1]).num_rows == 0 or newest["image"][-1].as_py() <= last:
            following = next(self._tables, None)
            if following is None:
                break
            tables.append(following)
        read = _sorted(pa.concat_tables(tables))
        self._read = read.filter(pc.greater_equal(read["image"], first)).combine_chunks()
        return self._read.filter(pc.less_equal(self._read["image"], last))


def _sorted(table: pa.Table) -> pa.Table:
    images = table["image"]
    before, after = images.slice(0, max(0, len(images) - 1)), images.slice(1)
    if (place := pc.index(pc.greater(before, after), True).as_py()) >= 0:
        raise ValueError(f"images are not sorted: {after[place].as_py()!r} comes after {before[place].as_py()!r}")
    return table
