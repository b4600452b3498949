"""The registry: what identifier every category, image and object of a library has in its exports, given once and kept.

Each night that adds names adds one file and touches no other; numbers only grow. A library of version 0.1 has none yet:
its objects then get the numbers that its export had, counted from 1 in alphabetical order. Categories that a job gives
identifiers come before all others, unless the library has given them identifiers of its own: those are kept.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config import InvalidJob
from pipeline.inputs.categories import Category
from pipeline.library.in_order.in_step import in_step
from pipeline.library.index import HAS_MASK, Index, open_database, with_a_mask
from pipeline.library.parts_of_nights import number_parts, read_in_batches
from pipeline.parts import PART
from pipeline.storage.store import Store

REGISTRY = pa.schema(
    [
        ("kind", pa.string()),  # "category", "image" or "object"
        ("name", pa.string()),  # the category, or the image's key
        ("object", pa.string()),  # of an object its name, else null
        ("id", pa.int64()),  # different for all of a kind, from 1
        ("supercategory", pa.string()),  # of a category, where it was given one; earlier files lack the column
    ]
)
ADDED = pa.schema([("place", pa.int64()), *(REGISTRY.field(name) for name in ("id", "name", "supercategory"))])
CATEGORIES = pa.schema([PART.field(name) for name in ("image", "object", "category")])
NAMED = {"image": ("image",), "object": ("image", "object")}

log = logging.getLogger("m2n2.nightly")


class Registry:
    """Identifiers of categories, images and objects; the last two are kept in a database."""

    def __init__(self, database: duckdb.DuckDBPyConnection, library: Store, keys: Sequence[str]) -> None:
        """Read the registry files `keys`, oldest night first."""
        self._database = database
        self._categories: dict[str, Category] = {}
        self._added: list[Category] = []
        self._largest: dict[str, int] = {}
        for kind, names in NAMED.items():
            columns = "".join(f"{name} VARCHAR, " for name in names)
            database.execute(f"CREATE TABLE {kind}_ids ({columns}id BIGINT, added BOOLEAN)")
        with tempfile.TemporaryDirectory(prefix="m2n2-registry-") as directory:
            for key in keys:
                path = Path(directory) / "registry.parquet"
                library.get_file(key, path)
                for kind, names in NAMED.items():
                    columns = "name, object" if len(names) == 2 else "name"
                    database.execute(
                        f"INSERT INTO {kind}_ids SELECT {columns}, id, FALSE FROM read_parquet(?) WHERE kind = ?",
                        [str(path), kind],
                    )
                self._categories |= {each.name: each for each in _categories_in(path)}
        for kind in NAMED:
            largest = database.execute(f"SELECT coalesce(max(id), 0) FROM {kind}_ids").fetchall()
            self._largest[kind] = int(largest[0][0])

    @property
    def largest_image_id(self) -> int:
        """The largest identifier of an image, 0 where there are none."""
        return self._largest["image"]

    @property
    def categories(self) -> Mapping[str, Category]:
        """By name, in the order in which they came."""
        return self._categories

    def give_categories(self, given: Sequence[Category], source: str) -> None:
        """Take in categories with identifiers; `source` names their file. Raises InvalidJob where one contradicts."""
        names = {each.id: each.name for each in self._categories.values()}
        for number, category in enumerate(given):
            where = f"{source}: element {number}"
            known = self._categories.get(category.name)
            kept = "an identifier once given is kept"
            if known is not None and known.id != category.id:
                raise InvalidJob(
                    f"{where}: id: found {category.id} for {category.name!r}, which has {known.id} in the library, and "
                    f"{kept}; allowed: {known.id}"
                )
            if known is None and category.id in names:
                raise InvalidJob(
                    f"{where}: id: found {category.id} for {category.name!r}, which {names[category.id]!r} has in the "
                    f"library, and {kept}; allowed: one above {max(names)}"
                )
            if known is not None and known.supercategory != category.supercategory:
                log.warning(
                    "%s: supercategory: found %r for %r, the library keeps %r",
                    *(where, category.supercategory, category.name, known.supercategory),
                )
        self._take([each for each in given if each.name not in self._categories])

    def add_categories(self, names: Sequence[str]) -> None:
        """Number those of the names that have no number yet, in alphabetical order."""
        largest = max((each.id for each in self._categories.values()), default=0)
        unknown = sorted(set(names) - self._categories.keys())
        self._take([Category(number, name) for number, name in enumerate(unknown, start=largest + 1)])

    def _take(self, categories: Sequence[Category]) -> None:
        self._categories |= {each.name: each for each in categories}
        self._added += categories

    def numbered(self, rows: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """The rows with their identifiers as `image_id` and `id`; names without one get one, in alphabetical order.

        Args:
            rows: with `image` and `object`, sorted by both.
        """
        with tempfile.TemporaryDirectory(prefix="m2n2-registry-") as directory:
            known = [self._in_order(kind, Path(directory)) for kind in NAMED]
            for some, images, objects in in_step(rows, *known):
                of_images = self._with_new("image", some, images).rename_columns(["image", "image_id"])
                of_objects = self._with_new("object", some, objects)
                for name, table in (("named", some), ("of_images", of_images), ("of_objects", of_objects)):
                    self._database.register(name, table)
                query = "SELECT * FROM named JOIN of_images USING (image) JOIN of_objects USING (image, object)"
                yield self._database.sql(query).to_arrow_table()

    def _in_order(self, kind: str, directory: Path) -> Path:
        """All names of a kind that have a number, sorted, in a file."""
        names, path = ", ".join(NAMED[kind]), directory / f"{kind}.parquet"
        self._database.sql(f"SELECT {names}, id FROM {kind}_ids ORDER BY {names}").write_parquet(str(path))
        return path

    def _with_new(self, kind: str, rows: pa.Table, known: pa.Table) -> pa.Table:
        """The numbers that are known, and of those of the rows that have none."""
        names = ", ".join(NAMED[kind])
        self._database.register("named", rows)
        self._database.register("known", known)
        new = self._database.sql(
            f"SELECT {names} FROM (SELECT DISTINCT {names} FROM named) ANTI JOIN known USING ({names}) ORDER BY {names}"
        ).to_arrow_table()
        if not new.num_rows:
            return known
        first = self._largest[kind] + 1
        self._largest[kind] += new.num_rows
        new = new.append_column("id", pa.array(range(first, first + new.num_rows), pa.int64()))
        self._database.register("new", new)
        self._database.execute(f"INSERT INTO {kind}_ids SELECT *, TRUE FROM new")
        return pa.concat_tables([known, new.cast(known.schema)])

    def write_added(self, path: Path) -> int:
        """Write the file of what was added; returns how many names that is."""
        categories = [{"place": place} | vars(each) for place, each in enumerate(self._added)]
        self._database.register("categories_added", pa.Table.from_pylist(categories, schema=ADDED))
        added = self._database.sql(
            """SELECT kind, name, object, id, supercategory FROM (
                   SELECT 'category' AS kind, name, NULL::VARCHAR AS object, id, supercategory, place
                   FROM categories_added
                   UNION ALL SELECT 'image', image, NULL, id, NULL, id FROM image_ids WHERE added
                   UNION ALL SELECT 'object', image, object, id, NULL, id FROM object_ids WHERE added)
               ORDER BY kind, place"""
        )
        added.write_parquet(str(path), compression="zstd")
        return int(pq.read_metadata(path).num_rows)


def check_categories(
    library: Store, registry_keys: Sequence[str], index_keys: Sequence[str], given: Sequence[Category], source: str
) -> None:
    """Raise InvalidJob where categories with identifiers contradict those that a library has given; see `source`."""
    if not given or not index_keys:
        return
    with (
        tempfile.TemporaryDirectory(prefix="m2n2-registry-") as directory,
        open_database(Path(directory) / "registry.duckdb") as database,
    ):
        _registry_before(database, library, registry_keys, index_keys).give_categories(given, source)


def register_night(
    library: Store,
    registry_keys: Sequence[str],
    index_keys: Sequence[str],
    new_index: Path,
    directory: Path,
    given: Sequence[Category] = (),
    source: str = "",
) -> Path | None:
    """The registry file that a night adds, in `directory`; None where all its names are known.

    Args:
        registry_keys, index_keys: of the library before this night.
        new_index: the night's index file, on this machine.
        directory: for this and temporary files.
        given, source: see Registry.give_categories.
    """
    with open_database(directory / "registry.duckdb") as database:
        registry = _registry_before(database, library, registry_keys, index_keys)
        registry.give_categories(given, source)
        _add_masks(database, library, registry, new_index)
        added = directory / "registry.parquet"
        return added if registry.write_added(added) else None


def _registry_before(
    database: duckdb.DuckDBPyConnection, library: Store, registry_keys: Sequence[str], index_keys: Sequence[str]
) -> Registry:
    """The registry of the library's nights, which one of version 0.1 has not written down."""
    registry = Registry(database, library, registry_keys)
    if not registry_keys and index_keys:
        with Index(library, index_keys) as before:
            _add_masks(database, library, registry, before.path)
    return registry


def _categories_in(path: Path) -> list[Category]:
    """The categories of a registry file, in its order."""
    columns = [name for name in ("id", "name", "supercategory") if name in pq.read_schema(path).names]
    rows = pq.read_table(path, columns=columns, filters=[("kind", "==", "category")]).to_pylist()
    return [Category(**row) for row in rows]


def _add_masks(database: duckdb.DuckDBPyConnection, library: Store, registry: Registry, index: Path) -> None:
    """Number what has a mask according to an index file."""
    database.execute(
        f"""CREATE OR REPLACE TABLE categories AS
            SELECT DISTINCT category FROM read_parquet(?) WHERE {HAS_MASK} AND category IS NOT NULL""",
        [str(index)],
    )
    # Version 0.1 left the category out of the index; it stands in the parts.
    old = number_parts(database, "nameless", index, "part", f"{HAS_MASK} AND category IS NULL")
    for rows in read_in_batches(library, old, CATEGORIES):
        database.register("rows", rows.table)
        database.execute(
            """INSERT INTO categories SELECT DISTINCT category
               FROM rows JOIN (FROM nameless WHERE part_number BETWEEN ? AND ?) USING (part_number, image, object)""",
            [rows.first, rows.last],
        )
    names = database.execute("SELECT DISTINCT category FROM categories").fetchall()
    registry.add_categories([name for (name,) in names])
    for _ in registry.numbered(with_a_mask(index, ("image", "object"))):
        pass
