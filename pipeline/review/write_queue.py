"""The review queue as files: `review.parquet` for programs, `review.csv` for spreadsheets, the same rows in both."""

from __future__ import annotations

import csv
import tempfile
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.review.queue import QUEUE, ROWS_A_BATCH, ReviewQueue
from pipeline.storage.store import Store

DIGITS = 6


def write_queue(queue: ReviewQueue, target: Store) -> list[str]:
    """Write both files to `target`; returns their addresses."""
    with tempfile.TemporaryDirectory(prefix="m2n2-review-") as directory:
        table, sheet = Path(directory) / "review.parquet", Path(directory) / "review.csv"
        rows = queue.rows()
        with (
            pq.ParquetWriter(table, QUEUE, compression="zstd") as parquet,
            sheet.open("w", encoding="utf-8", newline="") as file,
        ):
            lines = csv.DictWriter(file, QUEUE.names, lineterminator="\n")
            lines.writeheader()
            while batch := list(islice(rows, ROWS_A_BATCH)):
                parquet.write_batch(pa.RecordBatch.from_pylist(batch, schema=QUEUE))
                lines.writerows(_cells(row) for row in batch)
        for path in (table, sheet):
            target.put_file(path.name, path)
    return [target.url("review.parquet"), target.url("review.csv")]


def _cells(row: dict[str, Any]) -> dict[str, Any]:
    rounded = {name: round(value, DIGITS) for name, value in row.items() if isinstance(value, float)}
    return row | rounded | {"reasons": " ".join(row["reasons"])}
