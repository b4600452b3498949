"""The registry: what identifier every category, image and object of a library has in its exports, given once and kept.

Each night that adds names adds one file and touches no other; numbers only grow. A library of version 0.1 has none yet:
its objects then get the numbers that its export had, counted from 1 in alphabetical order.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.library.index import Index, open_database
from pipeline.library.parts_of_nights import read_in_batches
from pipeline.parts import PART
from pipeline.storage.store import Store

REGISTRY = pa.schema(
    [
        ("kind", pa.string()),  # "category", "image" or "object"
        ("name", pa.string()),  # the category, or the image's key
        ("object", pa.string()),  # of an object its name, else null
        ("id", pa.int64()),  # different for all of a kind, from 1
    ]
)
CATEGORIES = pa.schema([PART.field(name) for name in ("image", "object", "category")])
NAMED = {"category": ("category",), "image": ("image",), "object": ("image", "object")}


class Registry:
    """Identifiers in the tables `category_ids`, `image_ids` and `object_ids` of a database, each with a column `id`."""

    def __init__(self, database: duckdb.DuckDBPyConnection, library: Store, keys: Sequence[str]) -> None:
        """Read the registry files `keys`, oldest night first."""
        self._database = database
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

    def add(self, kind: str, query: str) -> None:
        """Number the names that a query gives and that have no number yet, in alphabetical order."""
        names = ", ".join(NAMED[kind])
        self._database.execute(
            f"""INSERT INTO {kind}_ids
                SELECT {names},
                    (SELECT coalesce(max(id), 0) FROM {kind}_ids) + row_number() OVER (ORDER BY {names}), TRUE
                FROM (SELECT DISTINCT {names} FROM ({query}) ANTI JOIN {kind}_ids USING ({names}))"""
        )

    def write_added(self, path: Path) -> int:
        """Write the file of what was added; returns how many names that is."""
        added = self._database.sql(
            """SELECT 'category' AS kind, category AS name, NULL::VARCHAR AS object, id FROM category_ids WHERE added
               UNION ALL SELECT 'image', image, NULL, id FROM image_ids WHERE added
               UNION ALL SELECT 'object', image, object, id FROM object_ids WHERE added
               ORDER BY kind, id"""
        )
        added.write_parquet(str(path), compression="zstd")
        return int(pq.read_metadata(path).num_rows)


def register_night(
    library: Store, registry_keys: Sequence[str], index_keys: Sequence[str], new_index: bytes, directory: Path
) -> bytes | None:
    """The registry file that a night adds; None where all its names are known.

    Args:
        registry_keys, index_keys: of the library before this night.
        new_index: the night's index file.
        directory: for temporary files.
    """
    with open_database(directory / "registry.duckdb") as database:
        registry = Registry(database, library, registry_keys)
        if not registry_keys and index_keys:
            with Index(library, index_keys) as before:
                _add_masks(database, library, registry, before.path)
        path = directory / "new_index.parquet"
        path.write_bytes(new_index)
        _add_masks(database, library, registry, path)
        added = directory / "registry.parquet"
        return added.read_bytes() if registry.write_added(added) else None


def _add_masks(database: duckdb.DuckDBPyConnection, library: Store, registry: Registry, index: Path) -> None:
    """Number what has a mask according to an index file."""
    database.execute(
        """CREATE OR REPLACE TABLE named AS SELECT image, object, category, part FROM read_parquet(?)
           WHERE reason IS NULL AND NOT removed""",
        [str(index)],
    )
    database.execute("CREATE OR REPLACE TABLE categories AS SELECT category FROM named WHERE category IS NOT NULL")
    # Version 0.1 left the category out of the index; it stands in the parts.
    database.execute(
        """CREATE OR REPLACE TABLE nameless AS
           SELECT image, object, part, dense_rank() OVER (ORDER BY part) - 1 AS part_number
           FROM named WHERE category IS NULL ORDER BY part"""
    )
    old = [part for (part,) in database.execute("SELECT DISTINCT part FROM nameless ORDER BY part").fetchall()]
    for rows in read_in_batches(library, old, CATEGORIES):
        database.register("rows", rows.table)
        database.execute(
            """INSERT INTO categories SELECT DISTINCT category
               FROM rows JOIN (FROM nameless WHERE part_number BETWEEN ? AND ?) USING (part_number, image, object)""",
            [rows.first, rows.last],
        )
    registry.add("category", "FROM categories")
    registry.add("image", "FROM named")
    registry.add("object", "FROM named")
