"""The newest mask of every object of a library, across its nights; memory stays bounded."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from itertools import groupby
from pathlib import Path

import duckdb

from pipeline.export.labels import Labels
from pipeline.frozen_parts import LabelledImage
from pipeline.library.index import Index, open_database, stream
from pipeline.library.ledger import read_state
from pipeline.library.registry import Registry
from pipeline.parts import PART
from pipeline.plan import Plan, PlanDamaged, fingerprint_of, load_plan
from pipeline.provenance import Provenance, read_provenance
from pipeline.storage.parquet import read_parquet
from pipeline.storage.store import Store


@contextmanager
def labels_of_library(library: Store) -> Iterator[Labels]:
    """The library's masks as it is now, for as long as the block runs, whatever nights do meanwhile.

    Objects whose clicks are gone, and those without a mask, are left out. The same library gives the same labels, and
    what an earlier night showed keeps its identifiers.
    """
    state = read_state(library)
    with (
        tempfile.TemporaryDirectory(prefix="m2n2-export-") as directory,
        Index(library, state.index_keys) as index,
        open_database(Path(directory) / "masks.duckdb") as database,
    ):
        keys, missing, provenances = _gather_masks(library, index, database)
        _number(Registry(database, library, state.registry_keys), database)
        yield Labels(
            fingerprint=fingerprint_of({"index": state.index_keys}),
            parts_digest=hashlib.sha256(json.dumps(keys).encode()).hexdigest(),
            categories=dict(database.execute("SELECT category, id FROM category_ids ORDER BY id").fetchall()),
            images=lambda columns: _by_image(database, columns, provenances),
            missing=missing,
        )


def _gather_masks(
    library: Store, index: Index, database: duckdb.DuckDBPyConnection
) -> tuple[list[str], list[str], list[Provenance]]:
    """Fill the table `unsorted`, a part in memory at a time.

    Returns:
        The keys of all parts, those of the missing ones, and the provenances that `unsorted.provenance` numbers.
    """
    database.execute(
        """CREATE TABLE alive AS SELECT image, object, part FROM read_parquet(?)
           WHERE reason IS NULL AND NOT removed ORDER BY part""",
        [str(index.path)],
    )
    database.register("no_masks", PART.empty_table())
    database.execute("CREATE TABLE unsorted AS SELECT *, 0 AS provenance FROM no_masks")
    keys = [key for (key,) in database.execute("SELECT DISTINCT part FROM alive ORDER BY part").fetchall()]
    missing: list[str] = []
    provenances: dict[Provenance, int] = {}
    plan_of_run = cache(partial(_plan_of_run, library))
    for key in keys:
        try:
            part = read_parquet(library.read(key), library.url(key))
        except FileNotFoundError:
            missing.append(key)
            continue
        of_part = read_provenance(part.schema.metadata, partial(plan_of_run, key.partition("parts/")[0]))
        database.register("part_rows", part)
        database.execute(
            """INSERT INTO unsorted BY NAME SELECT part_rows.*, ? AS provenance
               FROM part_rows JOIN (FROM alive WHERE part = ?) USING (image, object)""",
            [provenances.setdefault(of_part, len(provenances)), key],
        )
    return keys, missing, list(provenances)


def _plan_of_run(library: Store, root: str) -> Plan:
    plan = load_plan(library, root)
    if plan is None:
        raise PlanDamaged(f"{library.url(root)}plan/plan.json: is gone; parts were made for it")
    return plan


def _number(registry: Registry, database: duckdb.DuckDBPyConnection) -> None:
    """Fill the table `masks`, with identifiers, in their order."""
    registry.add("category", "SELECT category FROM unsorted")  # only a library of version 0.1 has names to add
    registry.add("image", "FROM alive")
    registry.add("object", "FROM alive")
    database.execute(
        """CREATE TABLE masks AS
           SELECT unsorted.*, image_ids.id AS image_id, object_ids.id AS id
           FROM unsorted JOIN image_ids USING (image) JOIN object_ids USING (image, object)
           WHERE area > 0
           ORDER BY image_id, id"""
    )
    database.execute("DROP TABLE unsorted")


def _by_image(
    database: duckdb.DuckDBPyConnection, columns: Sequence[str], provenances: Sequence[Provenance]
) -> Iterator[LabelledImage]:
    if "provenance" in columns:
        columns = [*columns, "clicks_digest"]
    wanted = ", ".join(dict.fromkeys(["image", "object", "area", "error", *columns]))
    query = f"SELECT {wanted}, id, image_id FROM masks ORDER BY image_id, id"
    for image_id, rows in groupby(stream(database.cursor(), query), key=lambda row: int(row["image_id"])):
        members = list(rows)
        if "provenance" in columns:
            for row in members:
                row["provenance"] = replace(provenances[row["provenance"]], clicks=row.pop("clicks_digest"))
        yield LabelledImage(image_id, members)
