"""Parquet with images in it, as Hugging Face's `datasets` writes it, and others that people have."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def parquet_of(images: Sequence[tuple[str | None, bytes | None]], rows_a_group: int = 4, **options: Any) -> bytes:
    """A file with a column of paths and bytes called `image`, beside one of numbers."""
    column = pa.array([{"bytes": data, "path": path} for path, data in images], IMAGE)
    return written({"label": pa.array(range(len(images))), "image": column}, rows_a_group, **options)


def written(columns: dict[str, pa.Array], rows_a_group: int = 4, **options: Any) -> bytes:
    """Any columns as a file."""
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, row_group_size=rows_a_group, **options)
    return sink.getvalue()
