"""Parquet that is held in memory, read in the thread that asks for it.

Arrow's own threads may let go of Python's bytes after the call is over; where the interpreter ends in that moment,
the process is aborted. Without them nothing is left behind.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.describe import describe


class DamagedObject(ValueError):
    """An object of ours that cannot be read as what it is: the message names it."""


def read_parquet(data: bytes, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """All rows of a Parquet file, or some columns of them. Raises DamagedObject, which names the file by `name`."""
    try:
        with pq.ParquetFile(pa.BufferReader(data), pre_buffer=False) as file:
            return file.read(columns=columns and list(columns), use_threads=False)
    except pa.ArrowException as error:
        raise DamagedObject(f"{name}: not readable as Parquet: {describe(error)}") from error
