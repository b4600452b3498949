"""Parts of a library's nights, any number of them, in one pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import duckdb
import pyarrow as pa

from pipeline.storage.parquet import read_parquet
from pipeline.storage.read_ahead import in_order
from pipeline.storage.store import Store

ROWS_AT_ONCE = 50_000


@dataclass(frozen=True)
class Rows:
    """Rows of consecutive parts.

    Attributes:
        first, last: places of the parts in the list of keys.
        table: the parts' rows, with the column `part_number`.
        metadata: of every part that is there, by its place.
    """

    first: int
    last: int
    table: pa.Table
    metadata: dict[int, dict[bytes, bytes] | None]


def read_in_batches(
    library: Store, keys: Sequence[str], schema: pa.Schema, missing: list[str] | None = None
) -> Iterator[Rows]:
    """The columns of `schema` of all parts, in the order of their keys, about ROWS_AT_ONCE rows at a time.

    Columns that parts of earlier versions lack are null.

    Args:
        missing: gets the keys of parts that are not there; None: these are an error.
    """
    tables: list[pa.Table] = []
    metadata: dict[int, dict[bytes, bytes] | None] = {}
    first = rows = 0
    for number, part in enumerate(in_order(partial(_read, library, schema), keys)):
        if isinstance(part, FileNotFoundError):
            if missing is None:
                raise part
            missing.append(keys[number])
            continue
        metadata[number] = part.schema.metadata
        tables.append(_cast(part, schema).append_column("part_number", pa.repeat(pa.scalar(number), part.num_rows)))
        rows += part.num_rows
        if rows >= ROWS_AT_ONCE:
            yield Rows(first, number, pa.concat_tables(tables), metadata)
            first, rows, tables, metadata = number + 1, 0, [], {}
    if tables:
        yield Rows(first, len(keys) - 1, pa.concat_tables(tables), metadata)


def number_parts(database: duckdb.DuckDBPyConnection, table: str, file: Path, part: str, where: str) -> list[str]:
    """Fill `table` with image, object and `part_number` of rows of a file, sorted, so that a range is found at once.

    Args:
        part: the column with the part's key.
        where: of which rows.

    Returns:
        The parts' keys, sorted: `part_number` is the place among them.
    """
    found = database.execute(f"SELECT DISTINCT {part} FROM read_parquet(?) WHERE {where} ORDER BY {part}", [str(file)])
    keys = [key for (key,) in found.fetchall()]
    numbers = pa.array(range(len(keys)), pa.int64())
    database.register("numbers_of_parts", pa.table({part: pa.array(keys, pa.string()), "part_number": numbers}))
    database.execute(
        f"""CREATE OR REPLACE TABLE {table} AS SELECT image, object, part_number
            FROM read_parquet(?) JOIN numbers_of_parts USING ({part}) WHERE {where} ORDER BY part_number""",
        [str(file)],
    )
    return keys


def _read(library: Store, schema: pa.Schema, key: str) -> pa.Table | FileNotFoundError:
    try:
        return read_parquet(library.read(key), library.url(key), schema.names)
    except FileNotFoundError as error:
        return error


def _cast(part: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = [
        part[field.name].cast(field.type) if field.name in part.schema.names else pa.nulls(part.num_rows, field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)
