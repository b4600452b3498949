"""From a night's run to what the library keeps of it: index rows, and the diff for people."""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pycocotools import mask as coco_mask

from pipeline.failure import REASONS
from pipeline.library.changes import CHANGES, LEFT_ALONE
from pipeline.library.index import INDEX, ROWS_A_BATCH, open_database, stream
from pipeline.library.parts_of_nights import read_in_batches
from pipeline.parts import PART, part_key
from pipeline.plan import Plan
from pipeline.storage.store import Store

RESULT = pa.schema([("image", pa.string()), ("object", pa.string()), ("reason", pa.string()), ("part", pa.string())])
DIFF = pa.schema(
    [
        ("image", pa.string()),
        ("object", pa.string()),
        ("kind", pa.string()),
        ("reason", pa.string()),
        ("iou", pa.float64()),
    ]
)
OLD = pa.schema([PART.field(name) for name in ("image", "object", "rle")])
TONIGHT_UNCOMPARED = pa.schema([PART.field(name) for name in ("image", "object", "error")])
TONIGHT = TONIGHT_UNCOMPARED.append(PART.field("rle"))
MASK = "image, object, rows.rle.size[1], rows.rle.size[2], rows.rle.counts"
COMPARED = "kind IN ('changed', 'retried') AND old_part IS NOT NULL AND old_reason IS NULL"
# An image that is not there is noticed when it arrives: its ETag is part of the digest. So it needs no trying.
TRIED_AGAIN = sorted(reason for reason, (_, retryable) in REASONS.items() if retryable and reason != "image_missing")


@dataclass(frozen=True)
class Diff:
    """What a night changed, in objects.

    Attributes:
        retried: objects that failed before in a way that may pass, tried once more.
        given_up: objects that failed so on every night that they are tried, and are left alone now.
        failed: by reason, of the objects that were labelled tonight.
        mean_iou: between old and new masks of changed objects; None where there were none to compare.
        compared: how many masks that is.
        resized: changed objects whose image changed its size, so that their masks cannot be compared.
    """

    new: int = 0
    changed: int = 0
    retried: int = 0
    restored: int = 0
    removed: int = 0
    unchanged: int = 0
    given_up: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    mean_iou: float | None = None
    compared: int = 0
    resized: int = 0


@dataclass(frozen=True)
class Settled:
    """A night's index file, on this machine, and its diff."""

    index: Path
    diff: Diff


def settle(library: Store, run: str, plan: Plan | None, index: Path) -> Settled:
    """Read a finished night's changes and parts; write `diff.parquet` and `diff.json` beside them.

    Args:
        run: the night's folder below the library, with `changes.parquet` in it.
        plan: of the night's run, complete; None where there was nothing to label.
        index: where the night's index file goes, on this machine.
    """
    with tempfile.TemporaryDirectory(prefix="m2n2-settle-") as name:
        directory = Path(name)
        changes, diff_file = directory / "changes.parquet", directory / "diff.parquet"
        library.get_file(f"{run}/changes.parquet", changes)
        with open_database(directory / "settle.duckdb") as database:
            _read_changes(database, changes)
            _collect(database, library, run, plan)
            _index_rows(database, index)
            diff = _diff(database, diff_file, _left_alone(changes))
        library.put(f"{run}/diff.parquet", diff_file)
        library.put(f"{run}/diff.json", json.dumps(asdict(diff), indent=1).encode())
        return Settled(index, diff)


def count_retried(library: Store, run: str) -> int:
    """How many objects of a night have been tried before; none in one that version 0.1 began."""
    with tempfile.TemporaryDirectory(prefix="m2n2-settle-") as name:
        changes = Path(name) / "changes.parquet"
        library.get_file(f"{run}/changes.parquet", changes)
        with pq.ParquetFile(changes) as file:
            kinds = (batch["kind"] for batch in file.iter_batches(ROWS_A_BATCH, columns=["kind"]))
            return sum(pc.sum(pc.equal(each, "retried")).as_py() or 0 for each in kinds)


def _read_changes(database: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Fill `changes`; a night that version 0.1 left open lacks columns."""
    database.register("no_changes", CHANGES.empty_table())
    database.execute(
        "CREATE TABLE changes AS FROM no_changes UNION ALL BY NAME FROM read_parquet(?)",
        [str(path)],
    )


def _collect(database: duckdb.DuckDBPyConnection, library: Store, run: str, plan: Plan | None) -> None:
    """Fill `results` with tonight's rows, `old_masks` and `new_masks` with what can be compared."""
    database.register("no_results", RESULT.empty_table())
    database.execute("CREATE TABLE results AS SELECT * FROM no_results")
    for table in ("old_masks", "new_masks"):
        database.execute(
            f"CREATE TABLE {table} (image VARCHAR, object VARCHAR, height INTEGER, width INTEGER, counts VARCHAR)"
        )
    old_parts = _number_old_parts(database)
    new_parts = [f"{run}/{part_key('', shard.index)}" for shard in plan.shards] if plan else []
    for rows in read_in_batches(library, new_parts, TONIGHT if old_parts else TONIGHT_UNCOMPARED):
        database.register("rows", rows.table)
        numbers = range(rows.first, rows.last + 1)
        database.register("numbers", pa.table({"part_number": numbers, "part": [new_parts[each] for each in numbers]}))
        database.execute(
            "INSERT INTO results SELECT image, object, error.reason, part FROM rows JOIN numbers USING (part_number)"
        )
        if old_parts:
            database.execute(f"INSERT INTO new_masks SELECT {MASK} FROM rows WHERE rle IS NOT NULL")
    for rows in read_in_batches(library, old_parts, OLD):
        database.register("rows", rows.table)
        database.execute(
            f"""INSERT INTO old_masks SELECT {MASK}
                FROM rows JOIN (FROM compared WHERE part_number BETWEEN ? AND ?) USING (part_number, image, object)
                WHERE rle IS NOT NULL""",
            [rows.first, rows.last],
        )


def _number_old_parts(database: duckdb.DuckDBPyConnection) -> list[str]:
    """Fill `compared` with the objects whose mask is another now, part after part, so that a range is found at once."""
    database.execute(
        f"""CREATE TABLE compared AS
            SELECT image, object, old_part, dense_rank() OVER (ORDER BY old_part) - 1 AS part_number
            FROM changes WHERE {COMPARED} ORDER BY old_part"""
    )
    keys = database.execute("SELECT DISTINCT old_part FROM compared ORDER BY old_part").fetchall()
    return [key for (key,) in keys]


def _index_rows(database: duckdb.DuckDBPyConnection, path: Path) -> None:
    """What failed in a way that may pass keeps what it had before, and counts the nights on which it was tried."""
    may_pass = f"reason IN ({', '.join(repr(reason) for reason in TRIED_AGAIN)})"
    rows = stream(
        database,
        f"""SELECT * FROM (
                SELECT image, object, digest, settings, part, reason, FALSE AS removed, category,
                    NULL AS tried, NULL AS tried_reason, NULL AS tries
                FROM changes JOIN results USING (image, object)
                WHERE reason IS NULL OR NOT {may_pass}
                UNION ALL
                SELECT image, object, coalesce(old_digest, ''::BLOB), coalesce(old_settings, ''),
                    coalesce(old_part, part), if(old_part IS NULL, reason, old_reason), FALSE, category,
                    tried, reason, tries
                FROM changes JOIN results USING (image, object)
                WHERE {may_pass} AND tried IS NOT NULL
                UNION ALL
                SELECT image, object, digest, settings, old_part, old_reason, kind = 'removed', category,
                    NULL, NULL, NULL
                FROM changes WHERE kind IN ('removed', 'restored'))
            ORDER BY image, object""",
    )
    _write(rows, INDEX, path)


def _diff(database: duckdb.DuckDBPyConnection, path: Path, left_alone: dict[str, int]) -> Diff:
    compared = resized = 0
    kinds = dict(database.execute("SELECT kind, count(*) FROM changes GROUP BY kind").fetchall())
    failed = dict(
        database.execute(
            "SELECT reason, count(*) FROM results WHERE reason IS NOT NULL GROUP BY reason ORDER BY 2 DESC, 1"
        ).fetchall()
    )
    rows = stream(
        database,
        """SELECT c.image, c.object, c.kind, r.reason,
               {'size': [o.height, o.width], 'counts': o.counts} AS old,
               {'size': [n.height, n.width], 'counts': n.counts} AS new
           FROM changes c
           LEFT JOIN results r USING (image, object)
           LEFT JOIN old_masks o USING (image, object)
           LEFT JOIN new_masks n USING (image, object)
           ORDER BY c.image, c.object""",
    )

    def with_iou() -> Iterator[dict[str, Any]]:
        nonlocal compared, resized
        for row in rows:
            old, new = row.pop("old"), row.pop("new")
            row["iou"] = None
            if old["counts"] is not None and new["counts"] is not None:
                if old["size"] == new["size"]:
                    row["iou"] = float(coco_mask.iou([old], [new], [0])[0, 0])
                    compared += 1
                else:
                    resized += 1
            yield row

    _write(with_iou(), DIFF, path)
    mean = statistics.fmean(_ious(path)) if compared else None
    return Diff(**kinds, **left_alone, failed=failed, mean_iou=mean, compared=compared, resized=resized)


def _ious(path: Path) -> Iterator[float]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(ROWS_A_BATCH, columns=["iou"]):
            yield from batch["iou"].drop_null().to_pylist()


def _write(rows: Iterator[dict[str, Any]], schema: pa.Schema, path: Path) -> None:
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        batch: list[dict[str, Any]] = []
        for row in rows:
            batch.append(row)
            if len(batch) == ROWS_A_BATCH:
                writer.write_batch(pa.RecordBatch.from_pylist(batch, schema=schema))
                batch.clear()
        writer.write_batch(pa.RecordBatch.from_pylist(batch, schema=schema))


def _left_alone(path: Path) -> dict[str, int]:
    metadata = pq.read_metadata(path).metadata or {}
    return {kind: int(metadata.get(kind.encode(), 0)) for kind in LEFT_ALONE}
