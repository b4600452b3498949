"""The rows of click files in one form, batch by batch, with the columns that stand in a file's path."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.clicks import ALLOWED, BOX, OPTIONAL, InvalidClicks
from pipeline.image_key import normal_keys
from pipeline.storage.store import Store

CANONICAL = pa.schema(
    [
        ("image", pa.string()),
        ("object", pa.string()),
        ("category", pa.string()),
        ("x", pa.float64()),
        ("y", pa.float64()),
        ("label", pa.int64()),
        ("file", pa.int32()),
        ("row", pa.int64()),
        ("spelling", pa.string()),  # the image as it was written, where that is not its normal form
        *((name, pa.float64()) for name in BOX),
    ]
)
IN_PATHS = ("image", "object", "label", "category")
LABELS_IN_PATHS = {"0": 0, "1": 1, "false": 0, "true": 1}
NULL_IN_PATHS = "__HIVE_DEFAULT_PARTITION__"
ROWS_A_BATCH = 262_144
UNNAMED = "object"  # the category of rows without one


def read_clicks(files: Sequence[str], store: Store, images_roots: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """All rows of the files, in batches of the schema CANONICAL. Raises InvalidClicks."""
    for index, file in enumerate(files):
        in_path = _columns_in_path(file)
        with store.open_seekable(file) as opened:
            try:
                parquet = pq.ParquetFile(opened)
                columns = _check_columns(file, parquet.schema_arrow, in_path)
                row = 0
                for batch in parquet.iter_batches(batch_size=ROWS_A_BATCH, columns=columns):
                    yield _canonical(_with_columns(batch, in_path, file, row), file, index, row, images_roots)
                    row += batch.num_rows
            except pa.ArrowException as error:
                found = " ".join(str(error).split())
                raise InvalidClicks(f"{file}: not readable as Parquet: {found}") from error
            except OSError as error:
                if isinstance(error, ConnectionError | TimeoutError):
                    raise
                raise InvalidClicks(f"{file}: damaged Parquet file: {' '.join(str(error).split())}") from error


def _columns_in_path(file: str) -> dict[str, pa.Scalar]:
    """Columns that stand in a path as Hive and Spark write them, `category=dog/`; other names (`dt=`) mean nothing."""
    found: dict[str, str] = {}
    for segment in file.split("/")[:-1]:
        column, separator, value = segment.partition("=")
        if not separator or column not in IN_PATHS:
            continue
        if found.setdefault(column, value) != value:
            raise InvalidClicks(f"{file}: column {column}: the path has both {found[column]!r} and {value!r}")
    return {column: _value_in_path(file, column, unquote(value)) for column, value in found.items()}


def _value_in_path(file: str, column: str, value: str) -> pa.Scalar:
    if value == NULL_IN_PATHS:
        return pa.scalar(None, CANONICAL.field(column).type)
    if column != "label":
        return pa.scalar(value, pa.string())
    if value.lower() not in LABELS_IN_PATHS:
        raise InvalidClicks(f"{file}: column label in the path: found {value!r}; allowed: 0, 1, true, false")
    return pa.scalar(LABELS_IN_PATHS[value.lower()], pa.int64())


def _check_columns(file: str, schema: pa.Schema, in_path: Mapping[str, pa.Scalar]) -> list[str]:
    for column, allowed in ALLOWED.items():
        places = schema.get_all_field_indices(column)
        if not places and (column in OPTIONAL or column in in_path):
            continue
        if not places:
            raise InvalidClicks(f"{file}: column {column} is missing; found columns: {', '.join(schema.names)}")
        if len(places) > 1:
            raise InvalidClicks(f"{file}: column {column}: found {len(places)} columns of this name; allowed: one")
        if not _type_fits(column, schema.field(column).type):
            raise InvalidClicks(f"{file}: column {column}: found type {schema.field(column).type}; allowed: {allowed}")
    found, missing = ([name for name in BOX if (name in schema.names) == there] for there in (True, False))
    if found and missing:
        raise InvalidClicks(f"{file}: column {missing[0]} is missing; found {', '.join(found)}; a box has all four")
    return [column for column in ALLOWED if column in schema.names]


def _type_fits(column: str, kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    if column in ("image", "category"):
        return bool(text)
    if column == "object":
        return bool(text or pa.types.is_integer(kind))
    if column == "label":
        return bool(pa.types.is_boolean(kind) or pa.types.is_integer(kind))
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


def _with_columns(
    batch: pa.RecordBatch, in_path: Mapping[str, pa.Scalar], file: str, first_row: int
) -> dict[str, pa.Array]:
    """A batch's columns in the types of CANONICAL, with those of the path, which must not contradict the file's own."""
    columns = {name: _cast(batch.column(name), CANONICAL.field(name).type) for name in batch.schema.names}
    for name, value in in_path.items():
        if name in columns:
            same = pc.fill_null(pc.equal(columns[name], value), False) if value.is_valid else pc.is_null(columns[name])
            other = pc.index(same, pa.scalar(False)).as_py()
            if other >= 0:
                found = columns[name][other].as_py()
                raise InvalidClicks(
                    f"{file}, row {first_row + other}: column {name}: found {found!r}; the path has {value.as_py()!r}"
                )
        columns.setdefault(name, pa.repeat(value, batch.num_rows))
    return columns


def _cast(values: pa.Array, kind: pa.DataType) -> pa.Array:
    """In another type. An integer that it does not hold is its object's error, no broken file: it stays far outside."""
    if pa.types.is_uint64(values.type) and pa.types.is_integer(kind):
        values = pc.min_element_wise(values, pa.scalar(2**63 - 1, pa.uint64()), skip_nulls=False)
    return values.cast(kind, safe=False)


def _canonical(
    columns: dict[str, pa.Array], file: str, index: int, first_row: int, images_roots: Sequence[str]
) -> pa.RecordBatch:
    rows = len(columns["x"])
    for name in columns:
        try:
            columns[name].validate(full=True)
        except pa.ArrowInvalid as error:
            raise InvalidClicks(f"{file}, row {first_row} or later: column {name}: {error}; allowed: UTF-8") from error
    for name in ("image", "object"):
        if columns[name].null_count or (name == "image" and pc.any(pc.equal(columns[name], "")).as_py()):
            missing = pc.index(pc.fill_null(pc.equal(columns[name], ""), True), True).as_py()
            found = columns[name][missing].as_py()
            raise InvalidClicks(
                f"{file}, row {first_row + missing}: column {name}: found {found!r}; allowed: {ALLOWED[name]}"
            )
    columns.setdefault("label", pa.repeat(pa.scalar(1, pa.int64()), rows))
    columns.setdefault("category", pa.nulls(rows, pa.string()))
    columns["category"] = pc.fill_null(columns["category"], UNNAMED)
    for name in BOX:
        columns.setdefault(name, pa.nulls(rows, pa.float64()))
    written = columns["image"]
    columns["image"] = normal_keys(written, images_roots)
    columns["spelling"] = pc.if_else(pc.equal(written, columns["image"]), pa.scalar(None, pa.string()), written)
    columns["file"] = pa.repeat(pa.scalar(index, pa.int32()), rows)
    columns["row"] = pa.array(range(first_row, first_row + rows), pa.int64())
    return pa.record_batch([columns[name] for name in CANONICAL.names], schema=CANONICAL)
