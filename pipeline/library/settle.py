"""From a night's run to what the library keeps of it: index rows, and the diff for people."""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Iterable, Iterator, Sequence
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
from pipeline.library.in_order.in_step import in_step, tables_of
from pipeline.library.index import INDEX, ROWS_A_BATCH, open_database
from pipeline.library.masks_of_night import number_old_parts, write_old_masks, write_tonight
from pipeline.plan import Plan
from pipeline.storage.store import Store

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
MAY_PASS = f"reason IN ({', '.join(repr(reason) for reason in TRIED_AGAIN)})"
# What failed in a way that may pass keeps what it had before, and counts the nights on which it was tried.
INDEX_ROWS = f"""
    SELECT * FROM (
        SELECT image, object, digest, settings, part, reason, FALSE AS removed, category,
            NULL AS tried, NULL AS tried_reason, NULL AS tries
        FROM changes JOIN results USING (image, object)
        WHERE reason IS NULL OR NOT {MAY_PASS}
        UNION ALL
        SELECT image, object, coalesce(old_digest, ''::BLOB), coalesce(old_settings, ''),
            coalesce(old_part, part), if(old_part IS NULL, reason, old_reason), FALSE, category,
            tried, reason, tries
        FROM changes JOIN results USING (image, object)
        WHERE {MAY_PASS} AND tried IS NOT NULL
        UNION ALL
        SELECT image, object, digest, settings, old_part, old_reason, kind = 'removed', category,
            NULL, NULL, NULL
        FROM changes WHERE kind IN ('removed', 'restored'))
    ORDER BY image, object"""
DIFF_ROWS = """
    SELECT c.image, c.object, c.kind, r.reason, o.rle AS old, r.rle AS new
    FROM changes c
    LEFT JOIN results r USING (image, object)
    LEFT JOIN old_masks o USING (image, object)
    ORDER BY c.image, c.object"""


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


def settle(library: Store, run: str, plan: Plan | None, index: Path) -> Diff:
    """Read a finished night's changes and parts; write its index file, and `diff.parquet` and `diff.json` beside them.

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
            old_parts = number_old_parts(database, changes)
            tonight = write_tonight(library, run, plan, directory / "tonight.parquet", with_masks=bool(old_parts))
            old = write_old_masks(database, library, old_parts, directory / "old.parquet")
            steps = in_step(map(_with_all_columns, tables_of(changes)), tonight, old)
            compared, resized = _write_rows(database, steps, index, diff_file)
            mean = statistics.fmean(_ious(diff_file)) if compared else None
            diff = _counted(database, changes, tonight, mean_iou=mean, compared=compared, resized=resized)
        library.put(f"{run}/diff.parquet", diff_file)
        library.put(f"{run}/diff.json", json.dumps(asdict(diff), indent=1).encode())
        return diff


def count_retried(library: Store, run: str) -> int:
    """How many objects of a night have been tried before; none in one that version 0.1 began."""
    with tempfile.TemporaryDirectory(prefix="m2n2-settle-") as name:
        changes = Path(name) / "changes.parquet"
        library.get_file(f"{run}/changes.parquet", changes)
        with pq.ParquetFile(changes) as file:
            kinds = (batch["kind"] for batch in file.iter_batches(ROWS_A_BATCH, columns=["kind"]))
            return sum(pc.sum(pc.equal(each, "retried")).as_py() or 0 for each in kinds)


def _with_all_columns(changes: pa.Table) -> pa.Table:
    """Changes of a night that version 0.1 left open lack columns."""
    return pa.concat_tables([CHANGES.empty_table(), changes], promote_options="default").select(CHANGES.names)


def _write_rows(
    database: duckdb.DuckDBPyConnection, steps: Iterable[tuple[pa.Table, ...]], index: Path, diff: Path
) -> tuple[int, int]:
    """Write the rows of index and diff, sorted by image and object; how many masks were compared, how many resized."""
    compared = resized = 0
    with (
        pq.ParquetWriter(index, INDEX, compression="zstd") as of_index,
        pq.ParquetWriter(diff, DIFF, compression="zstd") as of_diff,
    ):
        for step in steps:
            for name, table in zip(("changes", "results", "old_masks"), step, strict=True):
                database.register(name, table)
            rows = database.sql(INDEX_ROWS).to_arrow_table().cast(INDEX)
            of_index.write_table(rows, row_group_size=ROWS_A_BATCH)
            rows = database.sql(DIFF_ROWS).to_arrow_table()
            ious, of_step = _compared(rows["old"].to_pylist(), rows["new"].to_pylist())
            compared, resized = compared + len(ious) - ious.count(None), resized + of_step
            rows = rows.drop_columns(["old", "new"]).append_column("iou", pa.array(ious, pa.float64()))
            of_diff.write_table(rows.cast(DIFF), row_group_size=ROWS_A_BATCH)
    return compared, resized


def _compared(old: Sequence[Any], new: Sequence[Any]) -> tuple[list[float | None], int]:
    """IoU of each pair of run lengths, None where one is missing or of another size; how many have another size."""
    ious: list[float | None] = []
    resized = 0
    for before, now in zip(old, new, strict=True):
        there = before is not None and now is not None
        same_size = there and before["size"] == now["size"]
        resized += there and not same_size
        ious.append(float(coco_mask.iou([before], [now], [0])[0, 0]) if same_size else None)
    return ious, resized


def _counted(database: duckdb.DuckDBPyConnection, changes: Path, tonight: Path, **of_masks: Any) -> Diff:
    kinds = dict(
        database.execute("SELECT kind, count(*) FROM read_parquet(?) GROUP BY kind", [str(changes)]).fetchall()
    )
    failed = dict(
        database.execute(
            """SELECT reason, count(*) FROM read_parquet(?) WHERE reason IS NOT NULL
               GROUP BY reason ORDER BY 2 DESC, 1""",
            [str(tonight)],
        ).fetchall()
    )
    return Diff(**kinds, **_left_alone(changes), failed=failed, **of_masks)


def _ious(path: Path) -> Iterator[float]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(ROWS_A_BATCH, columns=["iou"]):
            yield from batch["iou"].drop_null().to_pylist()


def _left_alone(path: Path) -> dict[str, int]:
    metadata = pq.read_metadata(path).metadata or {}
    return {kind: int(metadata.get(kind.encode(), 0)) for kind in LEFT_ALONE}
