"""The masks of a run or library in the order in which they are looked at, and what is said of them.

A decision is in an append log on this machine before anybody is told that it is saved; now and then those of the log
become a file beside the run that is created once (pipeline/export/decisions.py).
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from threading import Lock, RLock
from typing import Any, get_args

import pyarrow as pa

from pipeline.export.decisions import Decision, Verdict, mask_digest, read_decisions, write_decisions
from pipeline.library.index import open_database
from pipeline.page.append_log import AppendLog, Record
from pipeline.page.name_set import NameSet
from pipeline.page.page_object import Click, InvalidChange
from pipeline.review.queue import ReviewQueue
from pipeline.review.source import Source, open_source
from pipeline.storage.store import Store

SHOWN = "rank, image, object, category, score, failure, reasons, overlap_with, duplicate_of, lost_to, change"
MASKS = pa.schema(
    [
        ("image", pa.string()),
        ("object", pa.string()),
        ("rle", pa.struct([("size", pa.list_(pa.int32())), ("counts", pa.string())])),
        ("clicks", pa.list_(pa.struct([("x", pa.float64()), ("y", pa.float64()), ("label", pa.bool_())]))),
    ]
)
IMAGES_AT_ONCE = 256


@dataclass(frozen=True)
class ReviewedObject:
    """An object of an image under review: its mask as COCO's run lengths (None: there is none) and planned clicks."""

    name: str
    rle: Mapping[str, Any] | None
    clicks: tuple[Click, ...]


class ReviewDesk:
    """One run or library under review; safe to use from several threads."""

    def __init__(self, store: Store, log_path: Path) -> None:
        """Sort the queue, which takes a while, and send off what the last page did not.

        Raises:
            InvalidJob: neither a run nor a library is there.
            LogInUse, DamagedLog: of the log of decisions at `log_path`.
        """
        self._store, self._lock, self._open = store, RLock(), ExitStack()
        self._sending = Lock()
        self._log = AppendLog(log_path)
        self._open.callback(self._log.close)
        with ExitStack() as on_failure:
            on_failure.push(self._open)
            source = self._open.enter_context(open_source(store))
            self._queue = self._open.enter_context(ReviewQueue(source))
            self._decisions = read_decisions(store)
            directory = self._open.enter_context(tempfile.TemporaryDirectory(prefix="m2n2-ui-"))
            self._database = self._open.enter_context(open_database(Path(directory) / "masks.duckdb"))
            self._gather(source)
            on_failure.pop_all()
        self._pending = _unsent(self._log.records)
        for decision in self._pending:
            self._decisions.add(decision)
        self.total = int(self._queue.select("SELECT count(*) AS n FROM queue")[0]["n"])
        self.doubtful = NameSet(self._queue.doubtful())
        self.send()

    def rows(self, start: int, limit: int) -> list[dict[str, Any]]:
        """Rows of the queue from a place on (from 0), each with its `verdict` and the verdict's `reason`."""
        with self._lock:
            rows = self._queue.select(f"SELECT {SHOWN} FROM queue ORDER BY rank LIMIT {int(limit)} OFFSET {int(start)}")
            return [row | self._said(row["image"], row["object"]) for row in rows]

    def objects(self, image: str) -> list[ReviewedObject]:
        """All objects of an image, with masks and clicks."""
        with self._lock:
            rows = self._database.execute(
                "SELECT object, rle, clicks FROM masks WHERE image = ? ORDER BY object", [image]
            ).fetchall()
        return [
            ReviewedObject(name, rle, tuple((each["x"], each["y"], each["label"]) for each in clicks or ()))
            for name, rle, clicks in rows
        ]

    def decide(self, image: str, name: str, verdict: str, reason: str | None) -> None:
        """Say something of an object's mask: on the disk when this returns.

        Raises:
            InvalidChange: no such verdict or object.
            OSError: it cannot be written.
        """
        if verdict not in get_args(Verdict):
            raise InvalidChange(f"verdict: found {verdict!r}; allowed: {', '.join(get_args(Verdict))}")
        with self._lock:
            rank = self._queue_has(image, name)
            if not rank:
                raise InvalidChange(f"object: found {name!r} of image {image!r}; allowed: one that is under review")
            decision = Decision(image, name, self._mask(image, name), verdict, reason, datetime.now(UTC))  # type: ignore[arg-type]
            self._log.append(_record(decision))
            self._pending.append(decision)
            self._decisions.add(decision)

    def send(self) -> str | None:
        """Make a file beside the run of the decisions that are in none yet; returns its address.

        Raises:
            OSError, StoreUnavailable: it cannot be written; the decisions are in the log.
        """
        with self._sending:
            with self._lock:
                decisions = list(self._pending)
            if not decisions:
                return None
            address = write_decisions(self._store, decisions)  # may take long: meanwhile people go on
            with self._lock:
                del self._pending[: len(decisions)]
                self._log.append({"sent": address, "decided_since": len(self._pending)})
            return address

    def close(self) -> None:
        """Send what is to be sent, and let others review."""
        with self._lock, self._open:
            self.send()
            self._log.rewrite([])

    def _queue_has(self, image: str, name: str) -> bool:
        found = self._database.execute("SELECT 1 FROM masks WHERE image = ? AND object = ?", [image, name]).fetchall()
        return bool(found)

    def _mask(self, image: str, name: str) -> str | None:
        (rle,) = self._database.execute(
            "SELECT rle FROM masks WHERE image = ? AND object = ?", [image, name]
        ).fetchall()[0]
        return mask_digest(rle) if rle else None

    def _said(self, image: str, name: str) -> dict[str, Any]:
        decision = self._decisions.about(image, name, self._mask(image, name))
        return {"verdict": decision and decision.verdict, "said": decision and decision.reason}

    def _gather(self, source: Source) -> None:
        """The table `masks`: of every object its mask and its clicks, to be found by image."""
        self._database.register("none", MASKS.empty_table())
        self._database.execute("CREATE TABLE unsorted AS FROM none")
        images = source.labels.images(["rle"])
        while batch := list(islice(images, IMAGES_AT_ONCE)):
            clicks = source.clicks(batch)
            self._insert(
                [row | {"clicks": clicks.get((row["image"], row["object"]))} for each in batch for row in each.rows]
            )
        unlabelled = source.unlabelled()
        while rows := list(islice(unlabelled, IMAGES_AT_ONCE)):
            self._insert([dict(row) | {"rle": None, "clicks": None} for row in rows])
        self._database.execute("CREATE TABLE masks AS FROM unsorted ORDER BY image, object")
        self._database.execute("DROP TABLE unsorted")

    def _insert(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self._database.register("batch", pa.Table.from_pylist([_only(row) for row in rows], schema=MASKS))
        self._database.execute("INSERT INTO unsorted FROM batch")


def _unsent(records: Sequence[Record]) -> list[Decision]:
    """The decisions of a log that are in no file beside the run yet."""
    found: list[Decision] = []
    for record in records:
        if "sent" in record:
            found = found[len(found) - record.get("decided_since", 0) :]
        else:
            found.append(_read(record))
    return found


def _only(row: Mapping[str, Any]) -> dict[str, Any]:
    clicks = [{name: each[name] for name in ("x", "y", "label")} for each in row["clicks"] or ()]
    return {"image": row["image"], "object": row["object"], "rle": row["rle"], "clicks": clicks}


def _record(decision: Decision) -> dict[str, Any]:
    return {**vars(decision), "decided": decision.decided.isoformat()}


def _read(record: Mapping[str, Any]) -> Decision:
    return Decision(**{**record, "decided": datetime.fromisoformat(record["decided"])})
