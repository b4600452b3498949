"""Images in columns of Parquet files: an index of each file, made once, and its row groups read through as needed."""

from __future__ import annotations

from threading import Lock

from pipeline.containers.members import Members
from pipeline.containers.once import Once
from pipeline.containers.parquet_index import ParquetIndex, ParquetIndexing
from pipeline.containers.row_group import RowGroup, read_row_group
from pipeline.failure import BadImage, Failure
from pipeline.storage.store import Store

ON_DISK_BYTES = 2_000_000_000
GROUPS_ON_DISK = 64  # each is an open file


class Parquets(Members[ParquetIndex]):
    """Rows of Parquet files by their keys.

    Images of one file follow one another by name, which need not be the order of its rows: a row group that was read is
    kept on the disk of this machine, up to `ON_DISK_BYTES` in all, so that it is not read again for every image.
    """

    def __init__(self, images: Store, pattern: str, indexes: Store | None) -> None:
        """As `Catalogue`."""
        super().__init__(images, pattern, indexes, ParquetIndexing())
        self._groups: Once[tuple[str, int], RowGroup] = Once(self._group, ON_DISK_BYTES)
        self._one_at_a_time = Lock()  # for the memory that pages take while they are decoded

    def _read_member(self, key: str, max_bytes: int) -> bytes:
        file, name, index = self._catalogue.find(key)
        row = index.members[name]
        if row.problem is not None:
            raise BadImage(Failure("image_unreadable", f"{self.url(key)}: {row.problem}"))
        rows = self._groups.get((file, row.group))
        if row.row >= len(rows.spans):
            damage = rows.damage or f"row group {row.group} has only {len(rows.spans)} rows"
            raise BadImage(Failure("image_unreadable", f"{self.url(key)}: {damage}"))
        data = rows.read(row.row, max_bytes)
        if data is None:
            found = "its bytes are null: it lies outside of the Parquet file; allowed: images whose bytes are in it"
            raise BadImage(Failure("image_missing", f"{self.url(key)}: {found}"))
        return data

    def _group(self, place: tuple[str, int]) -> tuple[RowGroup, int]:
        file, group = place
        with self._one_at_a_time:
            rows = read_row_group(self._images, file, self._catalogue.index(file), group)
        return rows, max(rows.size, ON_DISK_BYTES // GROUPS_ON_DISK)
