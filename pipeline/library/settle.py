"""From a night's run to what the library keeps of it: index rows, and the diff for people."""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from pycocotools import mask as coco_mask

from pipeline.failure import REASONS
from pipeline.library.index import INDEX, open_database, stream
from pipeline.parts import part_key
from pipeline.plan import Plan
from pipeline.storage.parquet import read_parquet
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
# An image that is not there is noticed when it arrives: its ETag is part of the digest. So it needs no trying.
TRIED_AGAIN = sorted(reason for reason, (_, retryable) in REASONS.items() if retryable and reason != "image_missing")


@dataclass(frozen=True)
class Diff:
    """What a night changed, in objects.

    Attributes:
        failed: by reason, of the objects that were labelled tonight.
        mean_iou: between old and new masks of changed objects; None where there were none to compare.
        compared: how many masks that is.
        resized: changed objects whose image changed its size, so that their masks cannot be compared.
    """

    new: int = 0
    changed: int = 0
    restored: int = 0
    removed: int = 0
    unchanged: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    mean_iou: float | None = None
    compared: int = 0
    resized: int = 0


@dataclass(frozen=True)
class Settled:
    """The bytes of a night's index file, and its diff."""

    index: bytes
    diff: Diff


def settle(library: Store, run: str, plan: Plan | None) -> Settled:
    """Read a finished night's changes and parts; write `diff.parquet` and `diff.json` beside them.

    Args:
        run: the night's folder below the library, with `changes.parquet` in it.
        plan: of the night's run, complete; None where there was nothing to label.
    """
    with tempfile.TemporaryDirectory(prefix="m2n2-settle-") as name:
        directory = Path(name)
        (directory / "changes.parquet").write_bytes(library.read(f"{run}/changes.parquet"))
        with open_database(directory / "settle.duckdb") as database:
            database.execute("CREATE TABLE changes AS SELECT * FROM read_parquet(?)", [f"{name}/changes.parquet"])
            _collect(database, library, run, plan)
            _index_rows(database, directory / "index.parquet")
            diff = _diff(database, directory / "diff.parquet", _unchanged(directory / "changes.parquet"))
        library.put(f"{run}/diff.parquet", (directory / "diff.parquet").read_bytes())
        library.put(f"{run}/diff.json", json.dumps(asdict(diff), indent=1).encode())
        return Settled((directory / "index.parquet").read_bytes(), diff)


def _collect(database: duckdb.DuckDBPyConnection, library: Store, run: str, plan: Plan | None) -> None:
    """Fill `results` with tonight's rows, `old_masks` and `new_masks` with what can be compared."""
    database.register("no_results", RESULT.empty_table())
    database.execute("CREATE TABLE results AS SELECT * FROM no_results")
    for table in ("old_masks", "new_masks"):
        database.execute(
            f"CREATE TABLE {table} (image VARCHAR, object VARCHAR, height INTEGER, width INTEGER, counts VARCHAR)"
        )
    for shard in plan.shards if plan else ():
        key = f"{run}/{part_key('', shard.index)}"
        _register(database, library, key, ["image", "object", "error", "rle"])
        database.execute("INSERT INTO results SELECT image, object, error.reason, ? FROM part_rows", [key])
        _insert_masks(database, "new_masks", "old_part IS NOT NULL")
    old_parts = database.execute(
        "SELECT DISTINCT old_part FROM changes WHERE kind = 'changed' AND old_reason IS NULL ORDER BY 1"
    ).fetchall()
    for (key,) in old_parts:
        _register(database, library, key, ["image", "object", "rle"])
        _insert_masks(database, "old_masks", "old_part = ?", [key])


def _register(database: duckdb.DuckDBPyConnection, library: Store, key: str, columns: Sequence[str]) -> None:
    database.register("part_rows", read_parquet(library.read(key), library.url(key), columns))


def _insert_masks(database: duckdb.DuckDBPyConnection, table: str, condition: str, values: Sequence[str] = ()) -> None:
    database.execute(
        f"""INSERT INTO {table}
            SELECT image, object, part_rows.rle.size[1], part_rows.rle.size[2], part_rows.rle.counts
            FROM part_rows JOIN changes USING (image, object)
            WHERE kind = 'changed' AND part_rows.rle IS NOT NULL AND {condition}""",
        list(values),
    )


def _index_rows(database: duckdb.DuckDBPyConnection, path: Path) -> None:
    """What failed and is tried again stays out, so that the next night finds it new or changed as this one did."""
    rows = stream(
        database,
        f"""SELECT * FROM (
                SELECT image, object, digest, settings, part, reason, FALSE AS removed
                FROM changes JOIN results USING (image, object)
                WHERE reason IS NULL OR reason NOT IN ({", ".join(f"'{reason}'" for reason in TRIED_AGAIN)})
                UNION ALL
                SELECT image, object, digest, settings, old_part, old_reason, kind = 'removed'
                FROM changes WHERE kind IN ('removed', 'restored'))
            ORDER BY image, object""",
    )
    _write(rows, INDEX, path)


def _diff(database: duckdb.DuckDBPyConnection, path: Path, unchanged: int) -> Diff:
    ious: list[float] = []
    resized = 0
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
        nonlocal resized
        for row in rows:
            old, new = row.pop("old"), row.pop("new")
            row["iou"] = None
            if old["counts"] is not None and new["counts"] is not None:
                if old["size"] == new["size"]:
                    row["iou"] = float(coco_mask.iou([old], [new], [0])[0, 0])
                    ious.append(row["iou"])
                else:
                    resized += 1
            yield row

    _write(with_iou(), DIFF, path)
    mean = statistics.fmean(ious) if ious else None
    return Diff(**kinds, unchanged=unchanged, failed=failed, mean_iou=mean, compared=len(ious), resized=resized)


def _write(rows: Iterator[dict[str, Any]], schema: pa.Schema, path: Path) -> None:
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        batch: list[dict[str, Any]] = []
        for row in rows:
            batch.append(row)
            if len(batch) == 20_000:
                writer.write_batch(pa.RecordBatch.from_pylist(batch, schema=schema))
                batch.clear()
        writer.write_batch(pa.RecordBatch.from_pylist(batch, schema=schema))


def _unchanged(path: Path) -> int:
    metadata = pq.read_metadata(path).metadata or {}
    return int(metadata[b"unchanged"])
