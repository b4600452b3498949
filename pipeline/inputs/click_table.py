"""All clicks of a job, sorted and grouped out of core: rows of any number of files become images with objects."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from types import TracebackType
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.clicks import BOX, InvalidClicks, ObjectClicks
from pipeline.failure import Failure
from pipeline.inputs.click_doubts import doubts_about
from pipeline.inputs.click_rows import CANONICAL, UNNAMED, read_clicks
from pipeline.inputs.object_box import BOX_COLUMNS, NO_BOX_COLUMNS, box_failure, box_of, with_centre
from pipeline.storage.store import Entry, Store

MEMORY_LIMIT = "300MB"  # of the database; beyond it sorting and grouping spill onto the disk
CLICKS_A_QUERY = 30_000
MOST_NAMES = 100  # of categories in a message

log = logging.getLogger("m2n2.clicks")


class ClickTable:
    """All clicks of a job, in a temporary database on disk that is removed at exit.

    Memory does not grow with the clicks, and time is in proportion to them. What is plausible but probably wrong is
    logged as a warning, with numbers.
    """

    def __init__(self, files: Sequence[Entry], store: Store, images_roots: Sequence[str]) -> None:
        """Read the files (from `find_click_files`).

        Raises:
            InvalidClicks: a file cannot be read as clicks, or has fractions of the image's size for pixels.
        """
        self._files = [file.key for file in files]
        self._directory = tempfile.TemporaryDirectory(prefix="m2n2-clicks-")
        self._database = duckdb.connect(str(Path(self._directory.name) / "clicks.duckdb"))
        self._database.execute(f"SET memory_limit='{MEMORY_LIMIT}'; SET preserve_insertion_order=false; SET threads=2")
        self._database.execute("SET enable_progress_bar=false")  # it would stand in what the command says
        self._database.register("incoming", CANONICAL.empty_table())
        self._database.execute("CREATE TABLE clicks AS SELECT * FROM incoming")
        # Batch by batch rather than as one stream: an error of ours must not come out wrapped in one of the database's.
        for batch in read_clicks(self._files, store, images_roots):
            self._database.register("incoming", pa.Table.from_batches([batch]))
            self._database.execute("INSERT INTO clicks SELECT * FROM incoming")
        if not self._database.execute("SELECT count(*) FROM clicks").fetchall()[0][0]:
            raise InvalidClicks(f"{', '.join(self._files[:3])}: no clicks; found 0 rows, at least one is needed")
        counts = " + ".join(f"count({name})" for name in BOX)
        self._has_boxes = self._database.execute(f"SELECT {counts} FROM clicks").fetchall()[0][0] > 0
        for doubt in doubts_about(self._database, self._files):
            log.warning("%s", doubt)

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

    def check_categories(self, allowed: Sequence[str]) -> None:
        """Raise InvalidClicks, with the first row of the first unknown one, where a category is none of these."""
        self._database.register("allowed", pa.table({"category": pa.array(allowed, pa.string())}))
        unknown = self._database.execute(
            """SELECT category, min({'file': file, 'row': row}) AS place, count(*)
               FROM clicks ANTI JOIN allowed USING (category) GROUP BY category ORDER BY place"""
        ).fetchall()
        if not unknown:
            return
        name, place, clicks = unknown[0]
        others = [f"{other!r} ({number} clicks)" for other, _, number in unknown[1:]]
        more = f", and {_some(others)}" if others else ""
        hint = "; rows without a category have this one" if name == UNNAMED else ""
        raise InvalidClicks(
            f"{self._at(place)}: column category: found {name!r} ({clicks} clicks){hint}{more}; allowed: "
            f"{_some(list(map(repr, allowed)))}; `unknown_categories: add` adds what is unknown"
        )

    def by_image(self) -> Iterator[tuple[str, list[ObjectClicks]]]:
        """Every image with its objects: images sorted, objects of an image in the order of their first clicks.

        The same click twice, with the same label, counts once.
        """
        repeated = 0
        for some in self._whole_images():
            for image, rows in groupby(self._objects_of(some), key=itemgetter("image")):
                objects = []
                for row in rows:
                    each, again = self._object(row)
                    objects.append(each)
                    repeated += again
                yield image, objects
        if repeated:
            log.warning(
                "%d clicks stand there twice for the same object, with the same label: each counts once", repeated
            )

    def _whole_images(self) -> Iterator[pa.Table]:
        """The clicks of all images, sorted: about CLICKS_A_QUERY at a time, no image's in two tables."""
        by_image = self._database.cursor().sql("FROM clicks ORDER BY image, file, row")
        with by_image.to_arrow_reader(CLICKS_A_QUERY) as reader:
            rows = reader.schema.empty_table()
            for batch in reader:
                rows = pa.concat_tables([rows, pa.Table.from_batches([batch])])
                last_begins = pc.index(rows["image"], rows["image"][-1]).as_py()
                yield rows.slice(0, last_begins)
                rows = rows.slice(last_begins)
            yield rows

    def _objects_of(self, clicks: pa.Table) -> Iterator[dict[str, Any]]:
        # A row that has a box and no point is no click.
        point = "(x IS NOT NULL OR y IS NOT NULL OR box_x0 IS NULL)" if self._has_boxes else "true"
        query = f"""
            SELECT image, object,
                list_sort(list({{'file': file, 'row': row, 'x': x, 'y': y, 'label': label <> 0}})
                    FILTER ({point})) AS clicks,
                min(category) AS category, max(category) AS other_category,
                arg_min({{'file': file, 'row': row}}, category) AS category_at,
                arg_max({{'file': file, 'row': row}}, category) AS other_category_at,
                bool_or(label = 1) FILTER ({point}) AS has_foreground,
                min({{'file': file, 'row': row, 'label': label}}) FILTER (
                    label IS NULL OR label NOT IN (0, 1)) AS bad_label,
                min({{'file': file, 'row': row, 'x': x, 'y': y}}) FILTER (
                    {point} AND (x IS NULL OR y IS NULL OR NOT isfinite(x) OR NOT isfinite(y))) AS bad_coordinate,
                count(*) FILTER ({point}) > count(DISTINCT {{'x': x, 'y': y, 'label': label}}) FILTER ({point})
                    AS has_duplicates,
                {BOX_COLUMNS if self._has_boxes else NO_BOX_COLUMNS}
            FROM some_clicks
            GROUP BY image, object
            ORDER BY image, min({{'file': file, 'row': row}})
        """
        self._database.register("some_clicks", clicks)
        table = self._database.sql(query).to_arrow_table()
        # Columns become Python's objects three times as fast as rows.
        names, columns = table.column_names, (column.to_pylist() for column in table.columns)
        for values in zip(*columns, strict=True):
            yield dict(zip(names, values, strict=True))

    def _object(self, row: dict[str, Any]) -> tuple[ObjectClicks, int]:
        """The object, and how many of its clicks stand there again."""
        written = row["clicks"] or []
        failure = self._failure(row)
        clicks = _each_once(written) if row["has_duplicates"] and failure is None else written
        again, box = len(written) - len(clicks), None
        if failure is None and row["box"] is not None:
            box = box_of(row["box"])
            clicks = with_centre(clicks, box, row["box"])
        return ObjectClicks(row["image"], row["object"], row["category"], clicks, failure, box), again

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
        if failure := box_failure(row, self._at):
            return failure
        if not row["has_foreground"] and row["box"] is None:
            where = self._at(row["clicks"][0])
            message = (
                f"{where}: column label: object {row['object']!r} has only background clicks; allowed: at least one 1"
            )
            return Failure("no_foreground", message)
        return None

    def _at(self, place: dict[str, Any]) -> str:
        return f"{self._files[place['file']]}, row {place['row']}"


def _some(texts: Sequence[str]) -> str:
    left_out = len(texts) - MOST_NAMES
    return ", ".join(texts[:MOST_NAMES]) + (f" and {left_out} more" if left_out > 0 else "")


def _each_once(clicks: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    first: dict[tuple[float, float, bool], dict[str, Any]] = {}
    for click in clicks:
        first.setdefault((click["x"], click["y"], click["label"]), click)
    return list(first.values())
