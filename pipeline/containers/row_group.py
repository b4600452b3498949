"""The images of a row group, as it was read and decoded once: in a file on this machine's disk that has no name."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.containers.parquet_index import ParquetIndex
from pipeline.containers.remote_file import Damaged, RemoteFile
from pipeline.containers.tar_index import Span
from pipeline.describe import describe
from pipeline.storage.parquet import span_of
from pipeline.storage.refusals import UnusableStorage
from pipeline.storage.store import Store

BUFFER_BYTES = 1 << 20
# Arrow holds a page of a column twice while it decodes it, and a page may be all of a row group.
LARGEST_GROUP_BYTES = 1_000_000_000


@dataclass(frozen=True)
class RowGroup:
    """Images that lie on the disk; the file goes with this object, and with the process however it ends.

    Attributes:
        spans: where each row's image is; None where its bytes are null. Rows that could not be read are not there.
        damage: why there are no more rows, "" where all are there.
    """

    file: IO[bytes]
    spans: Sequence[Span | None]
    damage: str = ""

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        return sum(span.size for span in self.spans if span)

    def read(self, row: int, max_bytes: int) -> bytes | None:
        """A row's first bytes; None where they are null. Raises IndexError where there is no such row."""
        span = self.spans[row]
        return None if span is None else os.pread(self.file.fileno(), min(span.size, max_bytes), span.first)


def read_row_group(images: Store, key: str, index: ParquetIndex, group: int) -> RowGroup:
    """Read a row group's column of images through, and no other column.

    Raises:
        PermissionError, KeyUnavailable, StoreUnavailable: as `Store.read_one_of_many`.
        UnusableStorage: there is no room for it on this machine's disk.
    """
    file = _nameless_file()
    spans: list[Span | None] = []
    at = 0
    try:
        for data in _values(RemoteFile(images, key), index, group):
            size = len(data or b"")
            if at + size > LARGEST_GROUP_BYTES:
                return RowGroup(file, spans, _too_large(group, at + size))
            _write(file, data or b"")
            spans.append(None if data is None else Span(at, size))
            at += size
    except Damaged as error:
        return RowGroup(file, spans, str(error))
    return RowGroup(file, spans)


def _values(remote: RemoteFile, index: ParquetIndex, group: int) -> Iterator[bytes | None]:
    with remote.damage():
        yield from _decoded(remote, index, group)


def _decoded(remote: RemoteFile, index: ParquetIndex, group: int) -> Iterator[bytes | None]:
    metadata = index.metadata()
    about = metadata.row_group(group)
    chunk = next(each for each in map(about.column, range(about.num_columns)) if each.path_in_schema == index.column)
    if chunk.total_uncompressed_size > LARGEST_GROUP_BYTES:
        raise Damaged(_too_large(group, chunk.total_uncompressed_size))
    options = {"metadata": metadata, "pre_buffer": False, "buffer_size": BUFFER_BYTES}
    with (
        remote.in_pieces(index.size, *span_of(chunk)) as pieces,
        pq.ParquetFile(pieces, **options) as file,
    ):
        # A row at a time: a dictionary can make any number of rows of one large value.
        for batch in file.iter_batches(1, row_groups=[group], columns=[index.column], use_threads=False):
            column = batch.column(0)
            yield from (each.as_py() for each in (column.field(0) if pa.types.is_struct(column.type) else column))


def _too_large(group: int, size: int) -> str:
    found = f"row group {group} with {size} bytes of images"
    return f"{found}; allowed: {LARGEST_GROUP_BYTES}; write the file with smaller row groups"


def _nameless_file() -> IO[bytes]:
    try:
        return tempfile.TemporaryFile(prefix="m2n2-rows-", buffering=0)
    except OSError as error:
        raise UnusableStorage(f"{tempfile.gettempdir()}: {describe(error)}") from error


def _write(file: IO[bytes], data: bytes) -> None:
    left = memoryview(data)
    try:
        while left:
            left = left[file.write(left) :]
    except OSError as error:
        raise UnusableStorage(f"{tempfile.gettempdir()}: no room for images of Parquet: {describe(error)}") from error
