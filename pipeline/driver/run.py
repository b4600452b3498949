"""The driver: plan or resume, feed the workers until every shard has its part, export, and say how it ended."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from datetime import UTC, datetime
from functools import cache
from typing import Literal

from pipeline.attempts import all_attempts, plan_retry
from pipeline.config import InvalidJob, Job
from pipeline.describe import describe
from pipeline.driver.dispatch import Dispatcher
from pipeline.driver.ending import RunResult, end_run
from pipeline.driver.labelling import Labelling, RunAborted
from pipeline.driver.progress import Heartbeat, Snapshot
from pipeline.driver.seeing.metrics import RunMetrics
from pipeline.driver.seeing.post_mortem import PostMortems
from pipeline.driver.suspicions import read_suspicions
from pipeline.driver.workers.fleet import Fleet
from pipeline.driver.workers.nodes import NoWorkers
from pipeline.driver.workers.room import settle_cpus
from pipeline.frozen_parts import freeze_parts
from pipeline.manifests.during_run import ManifestsDuringRun
from pipeline.parts import finished_shards
from pipeline.plan import Plan, as_planned, find_or_make_plan, shard_size
from pipeline.storage.store import Store

log = logging.getLogger("m2n2.run")

Retry = Literal["retryable", "all"]


def run(
    job: Job,
    retry: Retry | None = None,
    stop: threading.Event | None = None,
    on_progress: Callable[[Snapshot], None] = lambda snapshot: None,
    plan: Plan | None = None,
    accept: bool = False,
    connect: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> RunResult:
    """Run or resume a job.

    Args:
        retry: also work on failed objects again, those that are retryable or all.
        stop: once set, running shards may finish within `limits.drain_s` and the run ends incomplete.
        on_progress: told about twice a second how far the run is.
        plan: the output's plan, sealed already; None finds it or makes it from all of the job's clicks.
        accept: record in the output that the objects that failed may stay without a mask.
        connect: to Ray, once there is something to label and until it is labelled; by default it is connected already.

    Raises:
        InvalidJob, InvalidClicks, PlanMismatch, InvalidWeights: the input is wrong, and nothing was labelled; or what
            is in the output does not belong there (PlanDamaged, ForeignPart).
    """
    started, began = time.monotonic(), datetime.now(UTC)
    _check_output(job)
    plan = plan or find_or_make_plan(job)
    job = as_planned(job, plan)
    problem = _label_everything(job, plan, retry, stop or threading.Event(), on_progress, connect)
    try:
        attempts = _attempts(job.output_store, plan)
    except RunAborted as error:
        attempts, problem = [plan], problem or str(error)
    return end_run(job, freeze_parts(job.output_store, attempts), problem, accept, began, time.monotonic() - started)


def _check_output(job: Job) -> None:
    try:
        honoured = job.output_store.honours_create_if_absent()
    except (PermissionError, FileNotFoundError) as error:
        raise InvalidJob(f"output: {job.output} cannot be written: {describe(error)}") from error
    log.info("create-if-absent honoured=%s output=%s", honoured, job.output)
    if not honoured:
        log.warning(
            "the storage of %s replaces objects that are there (it does not honour create-if-absent): "
            "start no second driver on this output",
            job.output,
        )


def _attempts(store: Store, plan: Plan) -> list[Plan]:
    """The output's attempts, the first of which is `plan`. Raises RunAborted where it is gone or another."""
    attempts = all_attempts(store)
    if attempts and attempts[0] == plan:
        return attempts
    found = "is gone" if not attempts else "is another one now: another driver planned this output too"
    raise RunAborted(f"{store.url('plan/plan.json')} {found}; start the same job again, alone")


def _label_everything(
    job: Job,
    plan: Plan,
    retry: Retry | None,
    stop: threading.Event,
    on_progress: Callable[[Snapshot], None],
    connect: Callable[[], AbstractContextManager[None]],
) -> str | None:
    """Label what has not been labelled; returns why the run was aborted, or None."""
    store = job.output_store
    try:
        with ExitStack() as connection:
            ray = cache(lambda: connection.enter_context(connect()))
            for attempt in _attempts(store, plan):
                _label(job, attempt, stop, on_progress, ray)
            if retry and not stop.is_set():
                wanted = (lambda error: error["retryable"]) if retry == "retryable" else (lambda error: True)
                parts = freeze_parts(store, _attempts(store, plan))
                again = plan_retry(parts, wanted, shard_size(job, plan.images))
                if again is not None:
                    log.info("attempt root=%s objects=%d", again.root, again.objects)
                    _label(job, again, stop, on_progress, ray)
    except (RunAborted, NoWorkers) as error:
        return str(error)
    return None


def _label(
    job: Job,
    plan: Plan,
    stop: threading.Event,
    on_progress: Callable[[Snapshot], None],
    connect_once: Callable[[], None],
) -> None:
    """Work until every shard of one attempt has its part, or until told to stop. Raises RunAborted, NoWorkers."""
    done = finished_shards(job.output_store, plan)
    if len(done) == len(plan.shards):
        return
    connect_once()
    job = settle_cpus(job, plan)
    log.info("shards total=%d done=%d objects=%d", len(plan.shards), len(done), plan.objects)
    fleet = Fleet(job, plan)
    try:
        with (
            Heartbeat(job.output_store, plan.fingerprint, job.workers.cores) as heartbeat,
            PostMortems(job.output_store) as deaths,
            ManifestsDuringRun(job.output_store, plan, done) as manifests,
            RunMetrics(job.output) as metrics,
        ):
            todo = ((shard.index, shard.images) for shard in plan.shards if shard.index not in done)
            dispatcher = Dispatcher(todo, read_suspicions(job.output_store, plan.fingerprint))
            loop = Labelling(job, plan, dispatcher, fleet, heartbeat, metrics, on_progress, deaths.add, manifests.add)
            loop.work(stop)
    finally:
        fleet.close()
