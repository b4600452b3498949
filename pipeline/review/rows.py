"""Rows of a database, however many."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import duckdb

from pipeline.library.index import ROWS_A_BATCH


def stream(database: duckdb.DuckDBPyConnection, query: str) -> Iterator[dict[str, Any]]:
    """The rows of a query, a batch in memory at a time."""
    for batch in database.sql(query).to_arrow_reader(ROWS_A_BATCH):
        yield from batch.to_pylist()
