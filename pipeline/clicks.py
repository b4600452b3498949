"""The clicks: Parquet files of any number and size, checked, sorted and grouped out of core.

One row is one click: `image`, `object`, `x`, `y`, and optionally `label` and `category`. What makes a file unreadable
as clicks (a column missing or of another type, a row without image or object) stops the run before it starts. What is
wrong with one object becomes that object's failure and touches no other.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.describe import describe
from pipeline.failure import Failure
from pipeline.storage.store import Entry, Store

CLICK = pa.struct(
    [("x", pa.float64()), ("y", pa.float64()), ("label", pa.bool_()), ("file", pa.int32()), ("row", pa.int64())]
)
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
    ]
)
ALLOWED = {
    "image": "string",
    "object": "string or integer",
    "x": "float or integer",
    "y": "float or integer",
    "label": "bool or integer 0/1",
    "category": "string",
}
OPTIONAL = ("label", "category")
MEMORY_LIMIT = "600MB"
CLICKS_A_QUERY = 100_000
ROWS_A_BATCH = 262_144


class InvalidClicks(ValueError):
    """Click files that cannot be read as clicks: the message names file, row and column, found and allowed."""


@dataclass(frozen=True)
class ObjectClicks:
    """One object's clicks in their order. Each click is a dict of x, y, label, file (index) and row (from 0)."""

    image: str
    object: str
    category: str
    clicks: Sequence[dict[str, Any]]
    failure: Failure | None


class ClickTable:
    """All clicks of a job, sorted by image, in a temporary database on disk that is removed at exit.

    Memory stays below about a gigabyte however many clicks there are.
    """

    def __init__(self, files: Sequence[Entry], store: Store, images_roots: Sequence[str]) -> None:
        """Read and sort the files (from `find_click_files`). Raises InvalidClicks."""
        self._files = [file.key for file in files]
        self._directory = tempfile.TemporaryDirectory(prefix="m2n2-clicks-")
        self._database = duckdb.connect(str(Path(self._directory.name) / "clicks.duckdb"))
        self._database.execute(f"SET memory_limit='{MEMORY_LIMIT}'; SET preserve_insertion_order=false; SET threads=2")
        self._database.register("incoming", CANONICAL.empty_table())
        self._database.execute("CREATE TABLE unsorted AS SELECT * FROM incoming")
        # Batch by batch rather than as one stream: an error of ours must not come out wrapped in one of the database's.
        for batch in _read_all(self._files, store, images_roots):
            self._database.register("incoming", pa.Table.from_batches([batch]))
            self._database.execute("INSERT INTO unsorted SELECT * FROM incoming")
        self._database.execute("CREATE TABLE clicks AS SELECT * FROM unsorted ORDER BY image, file, row")
        self._database.execute("DROP TABLE unsorted")
        if not self._database.execute("SELECT count(*) FROM clicks").fetchall()[0][0]:
            raise InvalidClicks(f"{', '.join(self._files[:3])}: no clicks; found 0 rows, at least one is needed")

    def __enter__(self) -> ClickTable:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()
        self._directory.cleanup()

    def count_images(self) -> int:
        """How many different images have clicks."""
        return int(self._database.execute("SELECT count(DISTINCT image) FROM clicks").fetchall()[0][0])

    def by_image(self) -> Iterator[tuple[str, list[ObjectClicks]]]:
        """Every image with its objects: images sorted, objects of an image in the order of their first clicks."""
        for first, last in self._image_ranges():
            image, objects = first, list[ObjectClicks]()
            for row in self._objects_between(first, last):
                if row["image"] != image:
                    yield image, objects
                    image, objects = row["image"], []
                objects.append(self._object(row))
            yield image, objects

    def _image_ranges(self) -> Iterator[tuple[str, str]]:
        """First and last image of consecutive ranges with about CLICKS_A_QUERY clicks."""
        reader = self._database.cursor().execute("SELECT image, count(*) FROM clicks GROUP BY image ORDER BY image")
        first, last, clicks = None, "", 0
        while rows := reader.fetchmany(10_000):
            for image, count in rows:
                first = image if first is None else first
                last, clicks = image, clicks + count
                if clicks >= CLICKS_A_QUERY:
                    yield first, last
                    first, clicks = None, 0
        if first is not None:
            yield first, last

    def _objects_between(self, first: str, last: str) -> list[dict[str, Any]]:
        query = """
            SELECT image, object,
                list({'x': x, 'y': y, 'label': label <> 0, 'file': file, 'row': row} ORDER BY file, row) AS clicks,
                min(category) AS category, max(category) AS other_category,
                arg_min({'file': file, 'row': row}, category) AS category_at,
                arg_max({'file': file, 'row': row}, category) AS other_category_at,
                bool_or(label = 1) AS has_foreground,
                min({'file': file, 'row': row, 'label': label}) FILTER (
                    label IS NULL OR label NOT IN (0, 1)) AS bad_label,
                min({'file': file, 'row': row, 'x': x, 'y': y}) FILTER (
                    x IS NULL OR y IS NULL OR NOT isfinite(x) OR NOT isfinite(y)) AS bad_coordinate,
                count(*) > count(DISTINCT {'x': x, 'y': y, 'label': label}) AS has_duplicates
            FROM clicks WHERE image BETWEEN ? AND ?
            GROUP BY image, object
            ORDER BY image, min({'file': file, 'row': row})
        """
        table = self._database.sql(query, params=[first, last]).to_arrow_table()
        rows: list[dict[str, Any]] = table.to_pylist()
        return rows

    def _object(self, row: dict[str, Any]) -> ObjectClicks:
        return ObjectClicks(row["image"], row["object"], row["category"], row["clicks"], self._failure(row))

    def _failure(self, row: dict[str, Any]) -> Failure | None:
        if bad := row["bad_coordinate"]:
            found = f"x={bad['x']}, y={bad['y']}"
            return Failure("bad_coordinate", f"{self._at(bad)}: columns x, y: found {found}; allowed: finite numbers")
        if bad := row["bad_label"]:
            return Failure(
                "bad_label", f"{self._at(bad)}: column label: found {bad['label']}; allowed: 0, 1, true, false"
            )
        if row["category"] != row["other_category"]:
            return Failure(
                "two_categories",
                f"{self._at(row['category_at'])} and {self._at(row['other_category_at'])}: column category: found "
                f"{row['category']!r} and {row['other_category']!r} for object {row['object']!r}; allowed: one",
            )
        if row["has_duplicates"]:
            first, second = _first_duplicate(row["clicks"])
            found = f"the same click twice: x={first['x']}, y={first['y']}, label={first['label']}"
            return Failure("duplicate_click", f"{self._at(first)} and {self._at(second)}: found {found}; allowed: once")
        if not row["has_foreground"]:
            where = self._at(row["clicks"][0])
            message = (
                f"{where}: column label: object {row['object']!r} has only background clicks; allowed: at least one 1"
            )
            return Failure("no_foreground", message)
        return None

    def _at(self, place: dict[str, Any]) -> str:
        return f"{self._files[place['file']]}, row {place['row']}"


def find_click_files(patterns: Sequence[str], store: Store) -> list[Entry]:
    """The click files that addresses or patterns name, sorted, each once. Raises InvalidClicks where one names none."""
    files: dict[str, Entry] = {}
    for pattern in patterns:
        try:
            found = store.glob(pattern)
        except (PermissionError, FileNotFoundError) as error:
            raise InvalidClicks(f"{pattern}: {describe(error)}") from error
        if not found:
            raise InvalidClicks(f"{pattern}: no such file; expected at least one Parquet file of clicks")
        files.update({entry.key: entry for entry in found})
    return [files[key] for key in sorted(files)]


def outside_root(key: str) -> str | None:
    """Why an image key would leave the images root, or None where it stays below it."""
    if "://" in key or "::" in key:
        return "it is an address of its own"
    if key.startswith("/"):
        return "it is an absolute path"
    if "\\" in key or "\0" in key:
        return "it has a backslash or a zero byte"
    if ".." in key.split("/"):
        return "it climbs out of the root with '..'"
    return None


def _read_all(files: Sequence[str], store: Store, images_roots: Sequence[str]) -> Iterator[pa.RecordBatch]:
    for index, file in enumerate(files):
        with store.open_seekable(file) as opened:
            try:
                parquet = pq.ParquetFile(opened)
                columns = _check_columns(file, parquet.schema_arrow)
                row = 0
                for batch in parquet.iter_batches(batch_size=ROWS_A_BATCH, columns=columns):
                    yield _canonical(batch, file, index, row, images_roots)
                    row += batch.num_rows
            except pa.ArrowException as error:
                found = " ".join(str(error).split())
                raise InvalidClicks(f"{file}: not readable as Parquet: {found}") from error
            except OSError as error:
                if isinstance(error, ConnectionError | TimeoutError):
                    raise
                raise InvalidClicks(f"{file}: damaged Parquet file: {' '.join(str(error).split())}") from error


def _check_columns(file: str, schema: pa.Schema) -> list[str]:
    for column, allowed in ALLOWED.items():
        places = schema.get_all_field_indices(column)
        if not places and column in OPTIONAL:
            continue
        if not places:
            raise InvalidClicks(f"{file}: column {column} is missing; found columns: {', '.join(schema.names)}")
        if len(places) > 1:
            raise InvalidClicks(f"{file}: column {column}: found {len(places)} columns of this name; allowed: one")
        if not _type_fits(column, schema.field(column).type):
            raise InvalidClicks(f"{file}: column {column}: found type {schema.field(column).type}; allowed: {allowed}")
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


def _canonical(
    batch: pa.RecordBatch, file: str, index: int, first_row: int, images_roots: Sequence[str]
) -> pa.RecordBatch:
    rows = batch.num_rows
    columns = {name: batch.column(name).cast(CANONICAL.field(name).type) for name in batch.schema.names}
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
    columns["category"] = pc.fill_null(columns["category"], "object")
    columns["image"] = _below_root(columns["image"], images_roots)
    columns["file"] = pa.repeat(pa.scalar(index, pa.int32()), rows)
    columns["row"] = pa.array(range(first_row, first_row + rows), pa.int64())
    return pa.record_batch([columns[name] for name in CANONICAL.names], schema=CANONICAL)


def _below_root(images: pa.Array, roots: Sequence[str]) -> pa.Array:
    """Full addresses below the images' root become keys, so that all spellings are one image."""
    keys = images
    for prefix in (root.rstrip("/") + "/" for root in reversed(roots)):
        keys = pc.if_else(pc.starts_with(images, prefix), pc.utf8_slice_codeunits(images, len(prefix)), keys)
    return keys


def _first_duplicate(clicks: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    seen: dict[tuple[float, float, bool], dict[str, Any]] = {}
    for click in clicks:
        same = seen.setdefault((click["x"], click["y"], click["label"]), click)
        if same is not click:
            return same, click
    raise AssertionError("the database counted a duplicate click that is not there")
