"""A night: take the lease, finish what an earlier night left, find what changed, label it, commit it."""

from __future__ import annotations

import json
import logging
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Literal

from pipeline.config import Job
from pipeline.driver.progress import Snapshot
from pipeline.inputs.click_files import find_click_files
from pipeline.inputs.click_table import ClickTable
from pipeline.library.changes import Changes, read_etags, write_etags
from pipeline.library.config import Nightly
from pipeline.library.index import Index
from pipeline.library.lease import Lease, LeaseLost, take_lease
from pipeline.library.ledger import Night
from pipeline.library.settle import Diff, settle
from pipeline.plan import (
    ImageClicks,
    Plan,
    fingerprint_of,
    load_plan,
    make_identity,
    planned_images,
    shard_size,
    write_plan,
)
from pipeline.storage.store import Store

LAST_KEY = "last.json"

log = logging.getLogger("m2n2.nightly")

Outcome = Literal["complete", "nothing_new", "too_many_failed", "aborted", "stopped"]
EXIT_CODES: dict[Outcome, int] = {
    "complete": 0,
    "nothing_new": 0,
    "too_many_failed": 3,
    "aborted": 1,
    "stopped": 1,
}
Connect = Callable[[Job], AbstractContextManager[None]]
OnProgress = Callable[[Snapshot], None]


@dataclass(frozen=True)
class NightReport:
    """How a night ended; also the library's `last.json`. `run` is the address of the night's folder."""

    date: str
    outcome: Outcome
    exit_code: int
    message: str
    run: str | None
    diff: Diff | None
    began: str
    ended: str


def run_nights(
    nightly: Nightly, date: str, connect: Connect, stop: threading.Event, on_progress: OnProgress
) -> list[NightReport]:
    """Finish the night that an earlier driver left open, if there is one, then do the night of `date`.

    Args:
        date: the day that tonight stands for, YYYY-MM-DD; it names the run's folder.
        connect: connects to Ray for as long as its block runs; called only if there is something to label.
        stop: once set, running shards may finish and the night stays open.
        on_progress: told how far the labelling is.

    Returns:
        A report for every night worked on; a night that was not finished is the last one.

    Raises:
        LeaseHeld: another driver works on this library.
        LeaseLost: another driver took over while this one slept; it committed nothing.
        InvalidClicks, InvalidWeights: the input is wrong, and nothing was labelled.
    """
    with take_lease(nightly.store, nightly.growth.lease_expires_s, on_lost=stop.set) as lease:
        driver = _Driver(nightly, lease, connect, stop, on_progress)
        reports = [report for report in (driver.finish_open_night(),) if report]
        if not reports or reports[-1].exit_code != EXIT_CODES["stopped"]:
            reports.append(driver.tonight(date))
        return reports


class _Driver:
    def __init__(
        self, nightly: Nightly, lease: Lease, connect: Connect, stop: threading.Event, on_progress: OnProgress
    ) -> None:
        self._nightly, self._job, self._library = nightly, nightly.job, nightly.store
        self._lease, self._connect, self._stop, self._on_progress = lease, connect, stop, on_progress
        self._identity = make_identity(self._job, [])
        self._settings = fingerprint_of(self._identity)

    def finish_open_night(self) -> NightReport | None:
        """Continue the night that was begun and not finished; None where there is none, or it has to be begun anew."""
        night = self._lease.state.open_night
        if night is None:
            return None
        plan = load_plan(self._store_of(night))
        if plan is not None and plan.identity["settings_fingerprint"] == self._settings:
            log.info("night %s was not finished: going on with it", night.date)
            return self._label(night, plan, _now())
        # Without its seal a plan may be half there, and masks of two settings do not belong into one night.
        reason = "its plan was not sealed" if plan is None else "backbone, weights or settings are others now"
        log.warning("night %s was not finished and is begun anew: %s", night.date, reason)
        self._commit(replace(night, state="abandoned"))
        return None

    def tonight(self, date: str) -> NightReport:
        """Find what changed; label it, if there is anything."""
        began = _now()
        files = find_click_files(self._job.click_patterns, Store("", self._job.storage))
        with tempfile.TemporaryDirectory(prefix="m2n2-night-") as name:
            etags, path = Path(name) / "etags.parquet", Path(name) / "changes.parquet"
            write_etags(self._job.image_store, etags)
            with (
                Index(self._library, self._lease.state.index_keys) as index,
                ClickTable(files, Store("", self._job.storage), self._job.images_roots) as clicks,
                Changes(path, self._settings, self._nightly.growth.relabel) as changes,
            ):
                wanted = changes.to_label(planned_images(self._job, clicks), read_etags(etags), index.by_image())
                first = next(wanted, None)
                if first is None and set(changes.counts) <= {"unchanged"}:
                    return self._report(
                        date, "nothing_new", "", None, Diff(unchanged=changes.counts["unchanged"]), began
                    )
                night = Night(date, self._new_run(date))
                self._commit(night)

                def keep_changes() -> None:
                    changes.close()
                    self._library.put(f"{night.run}/changes.parquet", path.read_bytes())

                if first is None:
                    keep_changes()
                    return self._finish(night, None, "complete", "", began)
                size = shard_size(self._job, clicks.count_images())
                images = _then(chain([first], wanted), keep_changes)
                identity = make_identity(self._job, files) | {
                    "night": date,
                    "settings_fingerprint": self._settings,
                }
                keys = [file.key for file in files]
                plan = write_plan(self._store_of(night), "", identity, keys, images, size)
        return self._label(night, plan, began)

    def _label(self, night: Night, plan: Plan, began: str) -> NightReport:
        # Ray is a second and a hundred megabytes that a night with nothing new does without.
        from pipeline.driver.run import run

        job = self._job.model_copy(update={"output": self._store_of(night).root})
        log.info("night %s: %d objects in %d images to label", night.date, plan.objects, plan.images)
        with self._connect(job):
            result = run(job, stop=self._stop, on_progress=self._on_progress, plan=plan)
        if result.outcome in ("aborted", "stopped"):
            return self._report(night.date, result.outcome, result.message, night, None, began)
        return self._finish(night, plan, result.outcome, result.message, began)

    def _finish(self, night: Night, plan: Plan | None, outcome: Outcome, message: str, began: str) -> NightReport:
        settled = settle(self._library, night.run, plan)
        key = f"index/{night.run.removeprefix('runs/')}-{self._lease.holder.token:010d}.parquet"
        if not self._library.put_new(key, settled.index) and self._library.read(key) != settled.index:
            raise LeaseLost(f"{self._library.url(key)} was written by somebody else")
        self._commit(replace(night, state="finished", index=key))
        return self._report(night.date, outcome, message, night, settled.diff, began)

    def _commit(self, night: Night) -> None:
        others = [each for each in self._lease.state.nights if each.run != night.run]
        self._lease.commit([*others, night])

    def _report(
        self, date: str, outcome: Outcome, message: str, night: Night | None, diff: Diff | None, began: str
    ) -> NightReport:
        self._lease.check()  # whoever took over reports now
        run = self._library.url(night.run) if night else None
        report = NightReport(date, outcome, EXIT_CODES[outcome], message, run, diff, began, _now())
        self._library.put(LAST_KEY, json.dumps(asdict(report), indent=1).encode())
        return report

    def _new_run(self, date: str) -> str:
        """The night's folder; a date that has one already gets another, named after the lease."""
        run = f"runs/{date}"
        taken = any(night.run == run for night in self._lease.state.nights)
        return f"{run}-{self._lease.holder.token:010d}" if taken else run

    def _store_of(self, night: Night) -> Store:
        return Store(self._library.url(night.run), self._library.storage)


def _then(images: Iterator[ImageClicks], action: Callable[[], None]) -> Iterator[ImageClicks]:
    """The images, and when the last is planned, the action: before the plan is sealed."""
    yield from images
    action()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
