"""The review queue: every object of a run or library, in the order in which a person's minute helps most, and why.

First come objects whose mask is probably bad, or that have none for a reason that another click can mend; then masks
that contradict each other, that contradict their own clicks, that are unusual for their category, that are others than
a night ago; then the rest, lowest score first. Last come objects that no click can give a mask. All of it is sorted out
of core, and the same masks give the same queue.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa

from pipeline.library.index import open_database
from pipeline.library.settle import DIFF
from pipeline.review.objects import OBJECT, objects_of
from pipeline.review.rows import stream
from pipeline.review.source import Source

LOWEST_SHARE = 0.1  # of all scores: what is below counts as low
OVERLAP_CONFLICT = 0.1  # of the smaller mask
# Robust z-score of the mask's share of its image, on a log scale, among the masks of its category (Iglewicz and
# Hoaglin, 1993); a category with fewer masks, or whose masks are all alike, says little.
OUTLIER_Z, FEWEST_IN_CATEGORY, LEAST_SPREAD = 3.5, 20, 0.1

# What another click can mend; the other failures are of the image, of the machine, of the code, or somebody's wish.
MENDABLE = (
    "bad_coordinate",
    "bad_label",
    "click_outside",
    "duplicate_click",
    "empty_mask",
    "no_foreground",
    "two_categories",
)
# In their order; each with when it holds, and what is more urgent within it (the smaller, the earlier).
REASONS = {
    "low_score": ("score < lowest", "score"),
    "no_mask": (f"failure IN ({', '.join(repr(each) for each in MENDABLE)})", "0"),
    "overlap": (f"overlap > {OVERLAP_CONFLICT}", "-overlap"),
    "near_duplicate": ("duplicate_of IS NOT NULL", "-duplicate"),
    "lost_click": ("lost_clicks > 0", "-lost_clicks"),
    "area_outlier": (f"abs(area_z) > {OUTLIER_Z}", "-abs(area_z)"),
    "changed": ("change IN ('changed', 'retried', 'restored')", "coalesce(change_iou, 0)"),
}
QUEUE = pa.schema(
    [
        ("rank", pa.int64()),
        ("pick", pa.int64()),
        ("reasons", pa.list_(pa.string())),
        *OBJECT,
        ("area_z", pa.float64()),
        ("change", pa.string()),
        ("change_iou", pa.float64()),
    ]
)
ROWS_A_BATCH = 20_000


@dataclass(frozen=True)
class Represented:
    """Categories and reasons that there are, and how many of both stand among the picks."""

    groups: int
    picked: int


class ReviewQueue:
    """The queue of one source, in a database on disk; use as a context manager."""

    def __init__(self, source: Source) -> None:
        """Read all masks, compare those of each image, and sort them.

        Raises:
            PlanDamaged, ForeignPart: the output is not in order.
        """
        self._directory = tempfile.TemporaryDirectory(prefix="m2n2-review-")
        self._database = open_database(Path(self._directory.name) / "queue.duckdb")
        self._database.register("no_objects", OBJECT.empty_table())
        self._database.execute("CREATE TABLE objects AS FROM no_objects")
        self._fill(objects_of(source))
        self._sort(source.changes)

    def __enter__(self) -> ReviewQueue:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()
        self._directory.cleanup()

    def pick(self, budget: int) -> Represented:
        """Number the `budget` objects to look at if there is time for no more, in the queue's order, as `pick`.

        The first of every category and of every reason, then the reasons in turn, and within a reason its categories
        in turn. Objects that nothing is wrong with take their turn too; those that no click can mend do not.
        """
        self._database.execute(
            """CREATE OR REPLACE TABLE picks AS
               WITH candidates AS (SELECT rank, category, reasons, reason FROM queue WHERE NOT hopeless),
               groups AS (SELECT category AS name, min(rank) AS rank FROM candidates GROUP BY category
                          UNION ALL SELECT name, min(rank) FROM (SELECT unnest(reasons) AS name, rank FROM candidates)
                          GROUP BY name),
               turns AS (SELECT *, row_number() OVER (PARTITION BY reason, category ORDER BY rank) AS turn
                         FROM candidates),
               places AS (SELECT *, row_number() OVER (PARTITION BY reason ORDER BY turn, rank) AS place FROM turns),
               chosen AS (SELECT rank, reasons, category FROM places
                          ORDER BY rank NOT IN (SELECT rank FROM groups), place, rank LIMIT $budget)
               SELECT *, row_number() OVER (ORDER BY rank) AS pick FROM chosen""",
            {"budget": budget},
        )
        candidates, picked = (self._groups(table) for table in ("(FROM queue WHERE NOT hopeless)", "picks"))
        return Represented(candidates, picked)

    def rows(self, picked_only: bool = False) -> Iterator[dict[str, Any]]:
        """The queue's rows in their order, as QUEUE; or only those that were picked."""
        columns = ", ".join(name for name in QUEUE.names if name != "pick")
        kind = "JOIN" if picked_only else "LEFT JOIN"
        query = f"SELECT {columns}, pick FROM queue {kind} (SELECT rank, pick FROM picks) USING (rank) ORDER BY rank"
        return stream(self._database.cursor(), query)

    def doubtful(self) -> Iterator[str]:
        """The image of every object that there is a reason to look at, one after the other."""
        for row in stream(self._database.cursor(), "SELECT image FROM queue WHERE len(reasons) > 0"):
            yield row["image"]

    def select(self, query: str) -> list[dict[str, Any]]:
        """The rows of a query over the table `queue`: QUEUE but for `pick`, with the first `reason` of each object."""
        return list(stream(self._database.cursor(), query))

    def counts(self) -> dict[str, int]:
        """Objects by reason, in the order of REASONS; an object may have several."""
        rows = self._database.execute("SELECT unnest(reasons) AS reason, count(*) FROM queue GROUP BY 1").fetchall()
        found = dict(rows)
        return {reason: found[reason] for reason in REASONS if reason in found}

    def _groups(self, table: str) -> int:
        queries = (f"SELECT DISTINCT category FROM {table}", f"SELECT DISTINCT unnest(reasons) FROM {table}")
        return sum(len(self._database.execute(query).fetchall()) for query in queries)

    def _fill(self, rows: Iterator[dict[str, Any]]) -> None:
        while batch := list(islice(rows, ROWS_A_BATCH)):
            self._database.register("batch", pa.Table.from_pylist(batch, schema=OBJECT))
            self._database.execute("INSERT INTO objects FROM batch")

    def _sort(self, changes: pa.Table | None) -> None:
        self._database.register("changes", DIFF.empty_table() if changes is None else changes)
        holding = [f"CASE WHEN {holds} THEN ['{reason}'] ELSE [] END" for reason, (holds, _) in REASONS.items()]
        urgency = " ".join(f"WHEN '{reason}' THEN {value}" for reason, (_, value) in REASONS.items())
        order = ", ".join(f"'{reason}'" for reason in REASONS)
        self._database.execute(
            f"""CREATE TABLE queue AS
                WITH shares AS (SELECT *, ln(area / (width::DOUBLE * height)) AS share FROM objects),
                shapes AS (SELECT category, count(share) AS masks, median(share) AS middle, mad(share) AS spread
                           FROM shares GROUP BY category),
                measured AS (
                    SELECT shares.*, kind AS change, iou AS change_iou,
                        (SELECT quantile_cont(score, {LOWEST_SHARE}) FROM objects) AS lowest,
                        CASE WHEN masks >= {FEWEST_IN_CATEGORY}
                            THEN (share - middle) / greatest(1.4826 * spread, {LEAST_SPREAD}) END AS area_z
                    FROM shares LEFT JOIN shapes USING (category) LEFT JOIN changes USING (image, object)),
                judged AS (SELECT *, {" || ".join(holding)} AS reasons FROM measured),
                placed AS (SELECT *, coalesce(reasons[1], 'none') AS reason,
                               failure IS NOT NULL AND len(reasons) = 0 AS hopeless FROM judged),
                urgent AS (SELECT *, (CASE reason {urgency} ELSE score END)::DOUBLE AS urgency FROM placed)
                SELECT *, row_number() OVER (
                    ORDER BY hopeless, coalesce(list_position([{order}], reason), {len(REASONS) + 1}),
                        urgency, score, image, object) AS rank
                FROM urgent"""
        )
        self._database.execute("DROP TABLE objects")
        self._database.execute("CREATE TABLE picks (rank BIGINT, pick BIGINT)")
