"""Tables on this machine that are sorted by image, read side by side: each join is of a few images then.

A database joins two tables by keeping one of them; beyond some millions of rows no memory limit is enough for that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

ROWS_AT_ONCE = 20_000


def in_step(leading: Iterable[pa.Table], *others: Path) -> Iterator[tuple[pa.Table, ...]]:
    """The leading rows, some at a time and all of an image together, with the rows of these images in the others.

    Args:
        leading: sorted by `image`, within a table and from one to the next.
        others: Parquet files that are sorted by `image`.

    Raises:
        ValueError: something is not sorted.
    """
    following = [_Following(path) for path in others]
    for table in _whole_images(leading):
        images = table["image"].unique()
        yield table, *(each.of(images) for each in following)


def tables_of(path: Path, columns: Iterable[str] | None = None) -> Iterator[pa.Table]:
    """A Parquet file's rows in their order, ROWS_AT_ONCE at a time."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(ROWS_AT_ONCE, columns=columns and list(columns), use_threads=False):
            yield pa.Table.from_batches([batch])


def _whole_images(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows, cut where an image ends."""
    rest: pa.Table | None = None
    for table in tables:
        rest = table if rest is None else pa.concat_tables([rest, table]).combine_chunks()
        _check_sorted(rest["image"])
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
        self._path = path
        self._tables = tables_of(path)
        self._read = pq.read_schema(path).empty_table()

    def of(self, images: pa.Array) -> pa.Table:
        """The rows of these images, sorted, all after those asked for before; what stands between is let go."""
        last, found = images[-1].as_py(), [self._newest_of(images)]
        while self._read.num_rows == 0 or self._read["image"][-1].as_py() <= last:
            following = next(self._tables, None)
            if following is None:
                break
            newest = self._read.slice(max(0, self._read.num_rows - 1))
            _check_sorted(pa.concat_tables([newest, following])["image"], f"{self._path}: ")
            self._read = following
            found.append(self._newest_of(images))
        return pa.concat_tables(found).combine_chunks()

    def _newest_of(self, images: pa.Array) -> pa.Table:
        return self._read.filter(pc.is_in(self._read["image"], value_set=images))


def _check_sorted(images: pa.ChunkedArray, where: str = "") -> None:
    before, after = images.slice(0, max(0, len(images) - 1)), images.slice(1)
    if (place := pc.index(pc.greater(before, after), True).as_py()) >= 0:
        raise ValueError(
            f"{where}images are not sorted: {after[place].as_py()!r} comes after {before[place].as_py()!r}"
        )
