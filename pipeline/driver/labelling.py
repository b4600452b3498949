"""The driver's loop over one attempt: hand out tasks, take in what happened, watch the limits."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from pipeline.config import Job
from pipeline.driver.dispatch import Dispatcher, TakenApart
from pipeline.driver.doubts import read_doubts, why_doubtful
from pipeline.driver.events import Done, Event, Lost, Unavailable
from pipeline.driver.pace import Pace
from pipeline.driver.progress import Heartbeat, Snapshot
from pipeline.driver.seeing.metrics import RunMetrics
from pipeline.driver.seeing.slowest import read_slowest
from pipeline.driver.seeing.stages import plus_stages, read_stages
from pipeline.driver.workers.fleet import TASKS_IN_FLIGHT, Fleet
from pipeline.parts import commit_part, error_row
from pipeline.plan import Plan, read_shard

POLL_S = 0.5
# A worker, with no image finished anywhere in between: more than taking a shard of 4,096 images apart needs.
CRASHES_IN_A_ROW = 20

log = logging.getLogger("m2n2.run")


class RunAborted(RuntimeError):
    """The run ends before all is done: too many failures, no workers, or no progress for too long."""


class Labelling:
    """One attempt, by one fleet."""

    def __init__(
        self,
        job: Job,
        plan: Plan,
        dispatcher: Dispatcher,
        fleet: Fleet,
        heartbeat: Heartbeat,
        metrics: RunMetrics,
        on_progress: Callable[[Snapshot], None],
        keep_loss: Callable[[Lost], None] = lambda lost: None,
        on_part: Callable[[int], None] = lambda shard: None,
    ) -> None:
        self._job, self._plan, self._store = job, plan, job.output_store
        self._dispatcher, self._fleet = dispatcher, fleet
        self._heartbeat, self._metrics, self._on_part = heartbeat, metrics, on_part
        self._on_progress, self._keep_loss = on_progress, keep_loss
        self._reported = Snapshot.begin(plan, dispatcher.shards_left, dispatcher.images_left)
        self._objects = 0
        self._failed: Counter[str] = Counter()
        self._moved_s = time.monotonic()
        self._told_s = -math.inf
        self._crashes_in_a_row, self._most_workers = 0, 1
        self._storage_failed = False
        # What is tried again was counted before.
        self._doubts = read_doubts(self._store, plan.fingerprint) if not plan.root else None
        self._stages = read_stages(self._store, plan.fingerprint) if not plan.root else None
        self._slowest = read_slowest(self._store, plan.fingerprint) if not plan.root else None

    def work(self, stop: threading.Event) -> None:
        """Until every shard is done, or `stop` is set and the running shards had their time to finish."""
        try:
            self._turn_until(stop)
        finally:
            self._on_progress(self._reported)

    def _turn_until(self, stop: threading.Event) -> None:
        pace = Pace(stop.wait)
        while self._dispatcher.shards_left and not stop.is_set():
            self._fleet.keep(self._dispatcher.tasks_waiting)
            self._hand_out()
            if not self._dispatcher.tasks_waiting:
                self._fleet.release_idle()
            self._take_in(self._fleet.poll(POLL_S))
            self._check_limits()
            pace.rest()
        give_up_at, pace = time.monotonic() + self._job.limits.drain_s, Pace(time.sleep)
        while stop.is_set() and time.monotonic() < give_up_at:
            self._hand_out(draining=True)
            if not self._fleet.busy:
                break
            self._take_in(self._fleet.poll(POLL_S))
            pace.rest()

    def _hand_out(self, draining: bool = False) -> None:
        devices, workers = self._fleet.devices, self._fleet.placed_workers
        for _ in range(TASKS_IN_FLIGHT):  # nobody gets a second task before all have one
            for worker in self._fleet.idle():
                if not self._dispatcher.tasks_waiting:
                    return
                in_flight = list(worker.tasks.values())
                task = self._dispatcher.next(in_flight, time.monotonic(), worker.device, devices, workers, draining)
                if task is None:
                    self._fleet.nothing_for(worker)
                else:
                    self._fleet.give(worker, task)

    def _take_in(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, Done):
                self._done(event)
            elif isinstance(event, Unavailable):
                log.warning("storage unavailable shard=%d: %s", event.task.shard, event.message)
                self._storage_failed = True
                self._metrics.unavailable()
                self._dispatcher.unavailable(event.task, time.monotonic())
            else:
                self._lost(event)
        snapshot = replace(
            self._reported,
            shards_left=self._dispatcher.shards_left,
            workers=self._fleet.ready_workers,
            wanted=self._fleet.wanted_workers,
            waiting=self._fleet.waiting(),
            suspicions=self._dispatcher.suspicions(),
            doubts=self._doubts,
            stages=self._stages,
            slowest=self._slowest,
            progress=self._fleet.progress(),
        )
        # Images of a shard that cannot be committed are labelled again and again: that is not getting on.
        if snapshot.progress != self._reported.progress and not self._storage_failed:
            self._moved_s = time.monotonic()
        if snapshot.progress.images > self._reported.progress.images:
            self._crashes_in_a_row = 0
        self._most_workers = max(self._most_workers, snapshot.workers)
        self._reported = snapshot
        self._heartbeat.update(snapshot)
        self._metrics.update(snapshot.shards_left, snapshot.workers, snapshot.wanted)
        if time.monotonic() - self._told_s >= POLL_S:
            self._told_s = time.monotonic()
            self._on_progress(snapshot)

    def _done(self, event: Done) -> None:
        report = event.report
        self._moved_s = time.monotonic()
        self._crashes_in_a_row, self._storage_failed = 0, False
        self._objects += report.objects
        self._failed.update(report.failed)
        self._doubts = self._doubts and self._doubts.plus(report)
        self._stages = self._stages if self._stages is None else plus_stages(self._stages, report.stages)
        if report.task.whole:
            self._on_part(report.task.shard)
        self._slowest = self._slowest and self._slowest.plus(report)
        self._join(report.task.shard, self._dispatcher.done(report.task, report.rows))
        log.info(
            "shard=%05d whole=%s images=%d objects=%d failed=%d seconds=%.1f",
            *(report.task.shard, report.task.whole, report.images, report.objects),
            *(sum(report.failed.values()), report.seconds),
        )

    def _lost(self, event: Lost) -> None:
        self._keep_loss(event)
        self._metrics.lost(event)
        crashed = event.running is not None and event.cause in ("crash", "stuck")
        for task in event.others:
            self._dispatcher.given_back(task, suspect=crashed)
        if event.running is None:
            return
        if event.cause == "node":
            self._dispatcher.given_back(event.running, suspect=False)
        elif event.cause == "device" and event.place and self._dispatcher.spared(event.running, event.place.device):
            self._fleet.device_failed(event.place, event.message)
        else:
            self._crashes_in_a_row += 1
            if self._crashes_in_a_row > CRASHES_IN_A_ROW * self._most_workers:
                raise RunAborted(
                    f"{self._crashes_in_a_row} workers in a row died and no image was finished: {event.message}"
                )
            self._join(event.running.shard, self._dispatcher.crashed(event.running, event.cause, event.message))

    def _join(self, shard: int, apart: TakenApart | None) -> None:
        """Commit a shard that was in pieces, once all of them are there."""
        if apart is None:
            return
        images = read_shard(self._store, self._plan, shard)
        poisoned = [
            error_row(clicks, clicks.failure or failure)
            for position, failure in apart.poisonous.items()
            for clicks in images[position].objects
        ]
        commit_part(self._store, self._plan, shard, images, apart.rows + poisoned)
        self._failed.update(row["error"]["reason"] for row in poisoned)
        self._dispatcher.committed(shard)
        self._on_part(shard)
        if apart.poisonous:
            log.warning("shard=%05d taken apart: %d images kill their worker", shard, len(apart.poisonous))

    def _check_limits(self) -> None:
        limits, failed = self._job.limits, sum(self._failed.values())
        # What is tried again has failed before, so its share says nothing about the run.
        first_attempt = not self._plan.root
        if (
            first_attempt
            and self._objects >= limits.min_objects_before_abort
            and failed > limits.max_failed_share * self._objects
        ):
            reasons = ", ".join(f"{reason} {number}" for reason, number in self._failed.most_common())
            raise RunAborted(
                f"{failed} of the first {self._objects} objects failed ({reasons}); "
                f"allowed: {limits.max_failed_share:.1%} (limits.max_failed_share)"
            )
        doubtful = self._doubts and why_doubtful(self._doubts, self._job)
        if doubtful and self._objects >= limits.min_objects_before_abort:
            raise RunAborted(doubtful)
        if time.monotonic() - self._moved_s > limits.patience_s:
            raise RunAborted(f"nothing was finished for {limits.patience_s:g} s (limits.patience_s)")
