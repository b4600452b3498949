"""The clicks that masks came from, as they were planned: looked up for some images at a time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from pipeline.clicks import CLICK
from pipeline.frozen_parts import FrozenParts, LabelledImage
from pipeline.parts import PART_NAME
from pipeline.plan import Plan, load_plan, read_shard
from pipeline.storage.store import Store

Clicks = Sequence[Mapping[str, Any]]  # each with x, y and label
PLANNED = pa.schema([("image", pa.string()), ("object", pa.string()), ("clicks", pa.list_(CLICK))])


class RunClicks:
    """The clicks of a run's objects, out of its plan; images are best asked for in the plan's order."""

    def __init__(self, parts: FrozenParts) -> None:
        self._store, self._plan = parts.store, parts.attempts[0].plan
        self._images_before = list(accumulate((shard.images for shard in self._plan.shards), initial=0))
        self._shard = lru_cache(maxsize=1)(self._read)  # neighbours share it

    def __call__(self, images: Sequence[LabelledImage]) -> dict[tuple[str, str], Clicks]:
        """The clicks of all objects of these images, by image and object."""
        found: dict[tuple[str, str], Clicks] = {}
        for shard in sorted({bisect_right(self._images_before, image.id - 1) - 1 for image in images}):
            found |= self._shard(shard)
        return found

    def _read(self, shard: int) -> dict[tuple[str, str], Clicks]:
        images = read_shard(self._store, self._plan, shard)
        return {(image.image, each.object): each.clicks for image in images for each in image.objects}


class LibraryClicks:
    """The clicks of a library's newest masks, out of the plans of the nights that made them.

    Args:
        index: the file of the library's index.
        database: for the table `planned`, which is filled when it is first asked.
    """

    def __init__(self, library: Store, index: Path, database: duckdb.DuckDBPyConnection) -> None:
        self._library, self._index, self._database = library, index, database
        self._gathered = False

    def __call__(self, images: Sequence[LabelledImage]) -> dict[tuple[str, str], Clicks]:
        """The clicks of all objects of these images, by image and object."""
        if not self._gathered:
            self._gather()
            self._gathered = True
        names = pa.table({"image": [image.rows[0]["image"] for image in images]})
        self._database.register("asked", names)
        rows = self._database.execute("SELECT image, object, clicks FROM planned SEMI JOIN asked USING (image)")
        return {(image, name): clicks for image, name, clicks in rows.fetchall()}

    def _gather(self) -> None:
        database = self._database
        database.execute(
            """CREATE TABLE current AS SELECT image, object, part FROM read_parquet(?)
               WHERE reason IS NULL AND NOT removed""",
            [str(self._index)],
        )
        database.register("none_planned", PLANNED.empty_table())
        database.execute("CREATE TABLE planned AS FROM none_planned")
        plans: dict[str, tuple[Store, Plan | None]] = {}
        for (key,) in database.execute("SELECT DISTINCT part FROM current ORDER BY part").fetchall():
            name = PART_NAME.search(key)
            assert name, f"{key}: is no part, in an index that only this code writes"
            run = key[: name.start()]
            if run not in plans:
                store = Store(self._library.url(run.rstrip("/")), self._library.storage)
                plans[run] = (store, load_plan(store))
            store, plan = plans[run]
            if plan is None:
                continue  # what became of that night's folder, its missing parts say
            shard = read_shard(store, plan, int(name[1]))
            rows = [
                {"image": image.image, "object": each.object, "clicks": list(each.clicks)}
                for image in shard
                for each in image.objects
            ]
            database.register("shard_rows", pa.Table.from_pylist(rows, schema=PLANNED))
            database.execute(
                """INSERT INTO planned SELECT shard_rows.*
                   FROM shard_rows SEMI JOIN (FROM current WHERE part = ?) USING (image, object)""",
                [key],
            )
