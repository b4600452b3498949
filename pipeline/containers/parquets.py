"""Images in columns of Parquet files: an index of each file, made once, and its row groups read through as needed."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Lock

from pipeline.containers.catalogue import Catalogue, is_address
from pipeline.containers.once import Once
from pipeline.containers.parquet_index import ParquetIndexing
from pipeline.containers.row_group import RowGroup, read_row_group
from pipeline.failure import BadImage, Failure
from pipeline.storage.store import Store

ON_DISK_BYTES = 2_000_000_000
GROUPS_ON_DISK = 64  # each is an open file


class Parquets:
    """Rows of Parquet files by their keys. Safe to use from several threads.

    Images of one file follow one another by name, which need not be the order of its rows: a row group that was read is
    kept on the disk of this machine, up to `ON_DISK_BYTES` in all, so that it is not read again for every image.
    """

    def __init__(self, images: Store, pattern: str, indexes: Store | None) -> None:
        """As `Catalogue`."""
        self._images, self._catalogue = images, Catalogue(images, pattern, indexes, ParquetIndexing())
        self._groups: Once[tuple[str, int], RowGroup] = Once(self._group, ON_DISK_BYTES)
        self._one_at_a_time = Lock()  # for the memory that pages take while they are decoded

    @property
    def root(self) -> str:
        """The folder that keys are below."""
        return self._images.root

    def url(self, key: str) -> str:
        """The address of an image: its file's, then its name."""
        return self._images.url(key)

    def check(self) -> None:
        """As `Store.check`."""
        self._images.check()

    def etags(self) -> Iterator[tuple[str, str]]:
        """As `Catalogue.etags`."""
        return self._catalogue.etags()

    def read(self, key: str) -> bytes:
        """All of an image. Raises as `read_one_of_many`."""
        if is_address(key):
            return self._images.read(key)
        return self.read_one_of_many(key, 1 << 62)

    def read_one_of_many(self, key: str, max_bytes: int) -> bytes:
        """An image's first `max_bytes`, or those of a file outside the root. Raises as `Catalogue.find`."""
        if is_address(key):
            return self._images.read_one_of_many(key, max_bytes)
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
