"""What a night labelled, and the masks that stood there before, in files on this machine that are sorted by image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.library.parts_of_nights import number_parts, read_in_batches
from pipeline.parts import PART, part_key
from pipeline.plan import Plan
from pipeline.storage.store import Store

RESULT = pa.schema(
    [
        ("image", pa.string()),
        ("object", pa.string()),
        ("reason", pa.string()),
        ("part", pa.string()),
        PART.field("rle"),  # null where no mask of tonight is compared with any
    ]
)
OLD = pa.schema([PART.field(name) for name in ("image", "object", "rle")])
TONIGHT_UNCOMPARED = pa.schema([PART.field(name) for name in ("image", "object", "error")])
TONIGHT = TONIGHT_UNCOMPARED.append(PART.field("rle"))
COMPARED = "kind IN ('changed', 'retried') AND old_part IS NOT NULL AND old_reason IS NULL"


def write_tonight(library: Store, run: str, plan: Plan | None, path: Path, with_masks: bool) -> Path:
    """Write tonight's rows as RESULT; plan and parts are in the order of images. Returns `path`."""
    parts = [f"{run}/{part_key('', shard.index)}" for shard in plan.shards] if plan else []
    keys = pa.array(parts, pa.string())
    with pq.ParquetWriter(path, RESULT, compression="zstd") as writer:
        for rows in read_in_batches(library, parts, TONIGHT if with_masks else TONIGHT_UNCOMPARED):
            table = rows.table
            masks = table["rle"] if with_masks else pa.nulls(table.num_rows, PART.field("rle").type)
            reasons = pc.struct_field(table["error"], "reason")
            of_rows = keys.take(table["part_number"])
            writer.write_table(pa.table([table["image"], table["object"], reasons, of_rows, masks], schema=RESULT))
    return path


def number_old_parts(database: duckdb.DuckDBPyConnection, changes: Path) -> list[str]:
    """Fill `compared` with the objects whose mask is another now; returns the keys of the parts that they had."""
    return number_parts(database, "compared", changes, "old_part", COMPARED)


def write_old_masks(database: duckdb.DuckDBPyConnection, library: Store, parts: Sequence[str], path: Path) -> Path:
    """Write the masks that the objects of `compared` had as OLD; returns `path`."""
    database.register("no_masks", OLD.empty_table())
    database.execute("CREATE TABLE old_masks AS FROM no_masks")
    for rows in read_in_batches(library, parts, OLD):
        database.register("rows", rows.table)
        database.execute(
            """INSERT INTO old_masks SELECT image, object, rle
               FROM rows JOIN (FROM compared WHERE part_number BETWEEN ? AND ?) USING (part_number, image, object)
               WHERE rle IS NOT NULL""",
            [rows.first, rows.last],
        )
    database.sql("FROM old_masks ORDER BY image").write_parquet(str(path))
    return path
