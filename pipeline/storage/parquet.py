"""Parquet that is held in memory: written, and read in the thread that asks for it.

Arrow's own threads may let go of Python's bytes after the call is over; where the interpreter ends in that moment,
the process is aborted. Without them nothing is left behind.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.describe import describe
from pipeline.storage.random_access import RandomAccess
from pipeline.storage.store import Store

# Below this, one request for all of it is answered sooner than one for the footer and then some for the columns.
WHOLE_BELOW_BYTES = 1 << 18
FOOTER_BYTES = 1 << 16
GAP_BYTES = 1 << 16  # between columns, rather read than asked around


class DamagedObject(ValueError):
    """An object of ours that cannot be read as what it is: the message names it."""


def parquet_bytes(table: pa.Table, use_dictionary: bool | list[str] = True) -> bytes:
    """The Parquet file of a table, as this project compresses all of them; `use_dictionary` as pyarrow has it."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", use_dictionary=use_dictionary)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def span_of(chunk: pq.ColumnChunkMetaData) -> tuple[int, int]:
    """From where to where a column's bytes of one group of rows lie in the file."""
    first = min(filter(None, [chunk.dictionary_page_offset, chunk.data_page_offset]))
    return first, first + chunk.total_compressed_size


def read_parquet(data: bytes, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """All rows of a Parquet file, or some columns of them. Raises DamagedObject, which names the file by `name`."""
    return _read(pa.BufferReader(data), name, columns)


def read_columns(store: Store, key: str, size: int, columns: Sequence[str]) -> pa.Table:
    """Some columns of an object of `size` bytes; of a large one only its footer and these columns are fetched.

    Raises:
        DamagedObject: it is not Parquet, or not of this size.
        FileNotFoundError, PermissionError: as they say.
    """
    if size <= WHOLE_BELOW_BYTES:
        return read_parquet(store.read(key), store.url(key), columns)
    spans = _Spans(size)
    try:
        spans.add(size - FOOTER_BYTES, store.read_span(key, size - FOOTER_BYTES, size))
        footer = FOOTER_BYTES
        if (wanted := int.from_bytes(spans.read(size - 8, size - 4), "little") + 8) > footer:
            spans.add(size - wanted, store.read_span(key, size - wanted, size))
        metadata = pq.read_metadata(RandomAccess(size, spans.read))
        for first, stop in _needed(metadata, set(columns)):
            spans.add(first, store.read_span(key, first, stop))
    except (pa.ArrowException, _NotFetched) as error:
        raise DamagedObject(f"{store.url(key)}: not readable as Parquet: {describe(error)}") from error
    return _read(RandomAccess(size, spans.read), store.url(key), columns)


def _read(source: object, name: str, columns: Sequence[str] | None) -> pa.Table:
    try:
        with pq.ParquetFile(source, pre_buffer=False) as file:
            return file.read(columns=columns and list(columns), use_threads=False)
    except (pa.ArrowException, _NotFetched) as error:
        raise DamagedObject(f"{name}: not readable as Parquet: {describe(error)}") from error


def _needed(metadata: pq.FileMetaData, columns: set[str]) -> list[tuple[int, int]]:
    """From where to where the columns' bytes lie, spans with small gaps between them as one."""
    spans = []
    for group in range(metadata.num_row_groups):
        for number in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(number)
            if chunk.path_in_schema.split(".")[0] in columns:
                spans.append(span_of(chunk))
    joined: list[tuple[int, int]] = []
    for first, stop in sorted(spans):
        if joined and first - joined[-1][1] <= GAP_BYTES:
            joined[-1] = (joined[-1][0], max(stop, joined[-1][1]))
        else:
            joined.append((first, stop))
    return joined


class _NotFetched(EOFError):
    pass


class _Spans:
    """What was fetched of a file of `size` bytes."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._spans: list[tuple[int, bytes]] = []

    def add(self, first: int, data: bytes) -> None:
        self._spans.append((first, data))

    def read(self, first: int, stop: int) -> bytes:
        for begin, data in self._spans:
            if begin <= first and stop <= begin + len(data):
                return data[first - begin : stop - begin]
        raise _NotFetched(f"bytes {first} to {stop} of {self._size} are not there")
