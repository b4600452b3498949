"""The newest mask of every object of a library, across its nights; memory stays bounded.

Every part is read once, many at a time, and joined with what of it is still an object's newest mask. The work grows
with the number of objects, whatever the number of parts.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from itertools import groupby
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.export.labels import Labels
from pipeline.frozen_parts import LabelledImage
from pipeline.inputs.identity import fingerprint_of
from pipeline.library.in_order.masks import MasksInOrder
from pipeline.library.index import HAS_MASK, Index, open_database, with_a_mask
from pipeline.library.ledger import read_state
from pipeline.library.parts_of_nights import Rows, read_in_batches
from pipeline.library.registry import Registry
from pipeline.parts import PART
from pipeline.plan import PlanDamaged, PlanHead, find_head
from pipeline.provenance import Provenance, read_provenance
from pipeline.storage.store import Store


@contextmanager
def labels_of_library(library: Store) -> Iterator[Labels]:
    """The library's masks as it is now, for as long as the block runs, whatever nights do meanwhile.

    Objects whose clicks are gone, and those without a mask, are left out. The same library gives the same labels, and
    what an earlier night showed keeps its identifiers.
    """
    state = read_state(library)
    with tempfile.TemporaryDirectory(prefix="m2n2-export-") as name:
        directory = Path(name)
        with open_database(directory / "masks.duckdb") as database:
            registry = Registry(database, library, state.registry_keys)
            with Index(library, state.index_keys) as index:
                keys = _parts_of(database, index)
                masks = _number(database, registry, index, keys, directory)
            missing: list[str] = []
            provenances = _gather(database, library, keys, masks, missing)
            # Only a library of version 0.1 has names to add.
            gathered = database.execute("SELECT DISTINCT category FROM gathered_categories").fetchall()
            registry.add_categories([name for (name,) in gathered])
            categories = list(registry.categories.values())
        yield Labels(
            fingerprint=fingerprint_of({"index": state.fingerprinted}),
            parts_digest=hashlib.sha256(json.dumps(keys).encode()).hexdigest(),
            categories={each.name: each.id for each in categories},
            images=lambda columns: _by_image(masks, columns, provenances),
            missing=missing,
            supercategories={each.name: each.supercategory for each in categories if each.supercategory},
        )


def _parts_of(database: duckdb.DuckDBPyConnection, index: Index) -> list[str]:
    """The keys of the parts that have a mask of the library, sorted."""
    rows = database.execute(
        f"SELECT DISTINCT part FROM read_parquet(?) WHERE {HAS_MASK} ORDER BY part", [str(index.path)]
    ).fetchall()
    return [key for (key,) in rows]


def _number(
    database: duckdb.DuckDBPyConnection, registry: Registry, index: Index, keys: Sequence[str], directory: Path
) -> MasksInOrder:
    """Fill the table `numbered` with the objects that have a mask: its part's place in `keys`, and identifiers."""
    database.execute("CREATE TABLE found (image VARCHAR, object VARCHAR, part_number INT, image_id BIGINT, id BIGINT)")
    parts = pa.array(keys, pa.string())
    for rows in registry.numbered(with_a_mask(index.path, ("image", "object", "part"))):
        numbers = pc.index_in(rows["part"], parts)
        database.register("rows", rows.drop_columns("part").append_column("part_number", numbers))
        database.execute("INSERT INTO found BY NAME FROM rows")
    # In the order of the parts, so that a range of these is found without looking at all rows.
    database.execute("CREATE TABLE numbered AS FROM found ORDER BY part_number")
    database.execute("DROP TABLE found")
    number = database.execute("SELECT count(*) FROM numbered").fetchall()[0][0]
    return MasksInOrder(directory, number, registry.largest_image_id)


def _gather(
    database: duckdb.DuckDBPyConnection, library: Store, keys: Sequence[str], masks: MasksInOrder, missing: list[str]
) -> list[Provenance]:
    """Fill `masks` from the parts; returns the provenances that the masks' column `provenance` numbers."""
    provenances: dict[Provenance, int] = {}
    head_of_run = cache(partial(_head_of_run, library))
    database.execute("CREATE TABLE gathered_categories (category VARCHAR)")
    for rows in read_in_batches(library, keys, PART, missing):
        origins = {
            number: provenances.setdefault(
                read_provenance(metadata, partial(head_of_run, keys[number].partition("parts/")[0])), len(provenances)
            )
            for number, metadata in rows.metadata.items()
        }
        table = _newest(database, rows)
        categories = table.select(["category"]).group_by("category").aggregate([])
        database.register("of_batch", categories)
        database.execute("INSERT INTO gathered_categories FROM of_batch")
        numbers = pa.array([origins[number] for number in table["part_number"].to_pylist()], pa.int64())
        table = table.append_column("provenance", numbers)
        masks.add(table.filter(pc.greater(table["area"], 0)))
    masks.close()
    return list(provenances)


def _newest(database: duckdb.DuckDBPyConnection, rows: Rows) -> pa.Table:
    """Those of the rows that are an object's newest, with their identifiers."""
    names = rows.table.select(["image", "object", "part_number"])
    database.register("names", names.append_column("place", pa.array(range(names.num_rows), pa.int64())))
    found = database.sql(
        """SELECT place, image_id, id FROM names
           JOIN (FROM numbered WHERE part_number BETWEEN ? AND ?) USING (part_number, image, object)""",
        params=[rows.first, rows.last],
    ).to_arrow_table()
    table = rows.table.take(found["place"].combine_chunks())
    return table.append_column("image_id", found["image_id"]).append_column("id", found["id"])


def _head_of_run(library: Store, root: str) -> PlanHead:
    head = find_head(library, root)
    if head is None:
        raise PlanDamaged(f"{library.url(root)}plan/plan.json: is gone; parts were made for it")
    return head


def _by_image(
    masks: MasksInOrder, columns: Sequence[str], provenances: Sequence[Provenance]
) -> Iterator[LabelledImage]:
    rows = masks.rows(["image", "object", "area", "error", *columns])
    for image_id, of_image in groupby(rows, key=lambda row: int(row["image_id"])):
        members = list(of_image)
        if "provenance" in columns:
            for row in members:
                row["provenance"] = provenances[row["provenance"]]
        yield LabelledImage(image_id, members)
