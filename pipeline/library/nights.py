"""A night: take the lease, finish what an earlier night left, find what changed, label it, commit it."""

from __future__ import annotations

import filecmp
import logging
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

from pipeline.config import Job
from pipeline.describe import describe
from pipeline.driver.progress import Snapshot
from pipeline.inputs.categories import categories_in_plan, read_categories, refuse_unknown_categories
from pipeline.inputs.click_files import find_click_files
from pipeline.inputs.click_table import ClickTable
from pipeline.inputs.identity import make_identity, settings_fingerprint
from pipeline.library.changes import Changes, read_etags, write_etags
from pipeline.library.config import Nightly
from pipeline.library.index import Index, Totals
from pipeline.library.lease import Lease, LeaseLost, wait_for_lease
from pipeline.library.ledger import Night
from pipeline.library.registry import check_categories, register_night
from pipeline.library.report import (
    LAST_KEY,
    UNFINISHED,
    NightReport,
    Outcome,
    TooManyRemoved,
    check_removed,
    judge,
    write_report,
)
from pipeline.library.settle import Diff, count_retried, settle
from pipeline.plan import Plan, as_planned, find_head, load_plan, planned_images, shard_size, write_plan
from pipeline.shards.shard_file import ImageClicks
from pipeline.storage.retry import StoreUnavailable
from pipeline.storage.store import Entry, Store

log = logging.getLogger("m2n2.nightly")

Connect = Callable[[Job], AbstractContextManager[None]]
OnProgress = Callable[[Snapshot], None]


@dataclass(frozen=True)
class Wishes:
    """What whoever starts a night asks for besides what its configuration says.

    Attributes:
        wait_for_lease_s: seconds to wait for another driver's lease.
        retry_failed: try once more what failed in a way that may pass and has been given up.
        accept_failures: record that the objects of the library that fail may stay without a mask.
        accept_removed: go on although more objects are gone than `limits.max_removed_share`.
    """

    wait_for_lease_s: float = 0.0
    retry_failed: bool = False
    accept_failures: bool = False
    accept_removed: bool = False


def run_nights(
    nightly: Nightly,
    date: str,
    connect: Connect,
    stop: threading.Event,
    on_progress: OnProgress,
    wishes: Wishes | None = None,
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
        InvalidClicks, InvalidWeights, InvalidJob: the input is wrong, and nothing was labelled.
    """
    wishes, growth = wishes or Wishes(), nightly.growth
    lease = wait_for_lease(
        nightly.store,
        growth.lease_expires_s,
        on_lost=stop.set,
        wait_s=wishes.wait_for_lease_s,
        stop=stop,
        allow_replacing=growth.allow_storage_that_replaces,
    )
    with lease:
        driver = _Driver(nightly, lease, connect, stop, on_progress, wishes)
        began = _now()
        try:
            reports = [report for report in (driver.finish_open_night(),) if report]
            if not reports or reports[-1].outcome not in UNFINISHED:
                reports.append(driver.tonight(date))
        except LeaseLost:
            raise
        except Exception as error:
            driver.failed(date, error, began)
            raise
        return reports


class _Driver:
    def __init__(
        self,
        nightly: Nightly,
        lease: Lease,
        connect: Connect,
        stop: threading.Event,
        on_progress: OnProgress,
        wishes: Wishes,
    ) -> None:
        self._nightly, self._job, self._library = nightly, nightly.job, nightly.store
        self._lease, self._connect, self._stop, self._on_progress = lease, connect, stop, on_progress
        self._wishes = wishes
        self._job = self._as_last_night()
        self._settings = settings_fingerprint(self._job)
        self._categories = read_categories(self._job)

    def finish_open_night(self) -> NightReport | None:
        """Continue the night that was begun and not finished; None where there is none, or it has to be begun anew."""
        night = self._lease.state.open_night
        if night is None:
            return None
        plan = load_plan(self._store_of(night))
        if plan is not None and self._is_as_planned(plan):
            log.info("night %s was not finished: going on with it", night.date)
            return self._label(night, plan, _now())
        # Without its seal a plan may be half there, and masks of two settings do not belong into one night.
        reason = (
            "its plan was not sealed" if plan is None else "backbone, weights, settings or categories are others now"
        )
        log.warning("night %s was not finished and is begun anew: %s", night.date, reason)
        self._commit(replace(night, state="abandoned"))
        return None

    def tonight(self, date: str) -> NightReport:
        """Find what changed; label it, if there is anything."""
        began = _now()
        state = self._lease.state
        check_categories(self._library, state.registry_keys, state.index_keys, self._categories, self._source)
        files = find_click_files(self._job.click_patterns, Store("", self._job.storage))
        with tempfile.TemporaryDirectory(prefix="m2n2-night-") as name:
            etags, path = Path(name) / "etags.parquet", Path(name) / "changes.parquet"
            write_etags(self._job.image_source, etags)
            with (
                Index(self._library, self._lease.state.index_keys) as index,
                ClickTable(files, Store("", self._job.storage), self._job.images_roots) as clicks,
                Changes(path, self._settings, self._nightly.growth.relabel, self._wishes.retry_failed) as changes,
            ):
                refuse_unknown_categories(self._job, self._categories, clicks)
                totals = index.totals()
                images_with_clicks = clicks.count_images()  # before they are sorted, which takes the same memory
                wanted = changes.to_label(planned_images(self._job, clicks), read_etags(etags), index.by_image())
                first = next(wanted, None)
                if first is None and changes.nothing_new:
                    diff = Diff(unchanged=changes.counts["unchanged"], given_up=changes.counts["given_up"])
                    return self._judged(date, "nothing_new", None, diff, totals, began)
                night = Night(date, self._new_run(date))

                def keep_changes() -> None:
                    if not self._wishes.accept_removed:
                        check_removed(changes.counts["removed"], changes.images_gone, totals, self._job.limits)
                    changes.close()
                    self._library.put(f"{night.run}/changes.parquet", path)

                try:
                    if first is None:
                        keep_changes()
                        self._commit(night)
                        return self._finish(night, None, began)
                    self._commit(night)
                    images = _then(chain([first], wanted), keep_changes)
                    plan = self._plan(night, files, images, images_with_clicks)
                except TooManyRemoved as error:
                    if self._lease.state.open_night:
                        self._commit(replace(night, state="abandoned"))
                    return self._report(date, "too_many_removed", str(error), None, None, began)
        return self._label(night, plan, began)

    def _is_as_planned(self, plan: Plan) -> bool:
        """Whether an open night's plan is of the settings and the categories that the job has now."""
        given = categories_in_plan(self._categories).get("categories")
        return plan.identity["settings_fingerprint"] == self._settings and plan.identity.get("categories") == given

    @property
    def _source(self) -> str:
        return f"categories: {self._job.categories}"

    def _as_last_night(self) -> Job:
        """The job at the working size of the library's last night, where it does not say one itself."""
        for night in reversed(self._lease.state.nights):
            plan = find_head(self._store_of(night))
            if plan is not None:
                return as_planned(self._job, plan)
        return self._job

    def failed(self, date: str, error: Exception, began: str) -> None:
        """Leave word that tonight ended with an error, for whoever reads `last.json`."""
        try:
            self._report(date, "error", describe(error), None, None, began)
        except (StoreUnavailable, LeaseLost) as unsaid:
            log.warning("%s was not written: %s", LAST_KEY, describe(unsaid))

    def _plan(self, night: Night, files: Sequence[Entry], images: Iterator[ImageClicks], number: int) -> Plan:
        identity = make_identity(self._job, files, self._categories)
        identity |= {"night": night.date, "settings_fingerprint": self._settings}
        keys = [file.key for file in files]
        return write_plan(self._store_of(night), "", identity, keys, images, shard_size(self._job, number))

    def _label(self, night: Night, plan: Plan, began: str) -> NightReport:
        # Ray is a second and a hundred megabytes that a night with nothing new does without.
        from pipeline.driver.run import run

        limits = self._job.limits
        allowed = {"max_failed_share": self._allowed_share(night, plan)}
        job = self._job.of_a_night(output=self._store_of(night).root, limits=limits.model_copy(update=allowed))
        log.info("night %s: %d objects in %d images to label", night.date, plan.objects, plan.images)
        with self._connect(job):
            result = run(job, stop=self._stop, on_progress=self._on_progress, plan=plan)
        if result.outcome in UNFINISHED:
            return self._report(night.date, result.outcome, result.message, night, None, began)
        return self._finish(night, plan, began, result.message if result.outcome == "complete_in_doubt" else None)

    def _allowed_share(self, night: Night, plan: Plan) -> float:
        """What failed before may fail again: only of the rest no more than usual."""
        retried = count_retried(self._library, night.run)
        return (retried + self._job.limits.max_failed_share * (plan.objects - retried)) / max(1, plan.objects)

    def _finish(self, night: Night, plan: Plan | None, began: str, doubtful: str | None = None) -> NightReport:
        before = self._lease.state
        name = f"{night.run.removeprefix('runs/')}-{self._lease.holder.token:010d}.parquet"
        with tempfile.TemporaryDirectory(prefix="m2n2-night-") as directory:
            labelled = Path(directory) / "index.parquet"
            diff = settle(self._library, night.run, plan, labelled)
            index = self._put_new(f"index/{name}", labelled)
            names = register_night(
                *(self._library, before.registry_keys, before.index_keys, labelled, Path(directory)),
                *(self._categories, self._source),
            )
            registry = self._put_new(f"registry/{name}", names) if names else None
        self._commit(replace(night, state="finished", index=index, registry=registry))
        with Index(self._library, self._lease.state.index_keys) as merged:
            totals = merged.totals()
        return self._judged(night.date, "complete", night, diff, totals, began, doubtful)

    def _put_new(self, key: str, path: Path) -> str:
        if not self._library.put_new(key, path):
            there = path.with_suffix(".there")
            self._library.get_file(key, there)
            if not filecmp.cmp(path, there, shallow=False):
                raise LeaseLost(f"{self._library.url(key)} was written by somebody else")
        return key

    def _judged(
        self,
        date: str,
        outcome: Outcome,
        night: Night | None,
        diff: Diff,
        totals: Totals,
        began: str,
        doubtful: str | None = None,
    ) -> NightReport:
        accept, limits = self._wishes.accept_failures, self._job.limits
        outcome, message = judge(self._library, outcome, diff, totals, limits, accept)
        if doubtful and outcome == "complete":
            outcome, message = "complete_in_doubt", doubtful
        return self._report(date, outcome, message, night, diff, began)

    def _commit(self, night: Night) -> None:
        others = [each for each in self._lease.state.nights if each.run != night.run]
        self._lease.commit([*others, night])

    def _report(
        self, date: str, outcome: Outcome, message: str, night: Night | None, diff: Diff | None, began: str
    ) -> NightReport:
        self._lease.check()  # whoever took over reports now
        run = self._library.url(night.run) if night else None
        return write_report(self._library, date, outcome, message, run, diff, began)

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
