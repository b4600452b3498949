"""The workers: Ray actors that are made, watched, replaced, and given tasks only once they have said they are ready.

Everything here follows from an answer that has come; only once a second somebody looks through all workers.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, RayError, RayTaskError

from pipeline.config import Job
from pipeline.describe import describe
from pipeline.driver.events import Done, Event, Lost, Unavailable
from pipeline.driver.workers.answers import Answers
from pipeline.driver.workers.capacity import Capacity
from pipeline.driver.workers.loss import Loss, why_lost
from pipeline.driver.workers.nodes import Nodes
from pipeline.driver.workers.worker import Call, LabelerActor, Worker
from pipeline.parts import ForeignPart
from pipeline.plan import Plan, PlanDamaged
from pipeline.storage.retry import StoreUnavailable
from pipeline.tasks import Place, Progress, Task

TASKS_IN_FLIGHT = 2
PROGRESS_EVERY_S = 1.0
PROGRESS_A_SECOND = 25  # of all workers together; each answer costs the driver a fraction of a millisecond
LOOK_EVERY_S = 1.0
UNREACHABLE_S = 120.0  # by then Ray has found out whether a node that does not answer is dead
# The output is not in order, whoever looks at it.
FATAL = (ForeignPart, PlanDamaged)

log = logging.getLogger("m2n2.run")


@dataclass(frozen=True)
class _Roll:
    """Of the workers that can take tasks, their devices; how many these are, and how many are on a node at all."""

    devices: frozenset[str]
    ready: int
    placed: int


class Fleet:
    """Keeps as many workers as the job asks for, or as the cluster has room for, and turns what happens to events.

    Attributes:
        workers: those that are there, ready or not.
        nodes: where workers do not start.
        wanted_workers: how many would have something to do, of those that the job asks for or that there is room for.
    """

    def __init__(self, job: Job, plan: Plan, answers: Answers | None = None) -> None:
        self._job, self._plan = job, plan
        self.workers: list[Worker] = []
        self._answers = answers or Answers()
        self._old_pids: dict[str, list[int]] = {}
        self.nodes = Nodes()
        self._capacity = Capacity(job, self.nodes)
        self._progress = Progress()
        self._rolled: _Roll | None = None
        self._free: dict[Worker, None] = {}
        self._looked_s = -math.inf
        self.wanted_workers = 0

    def keep(self, tasks_waiting: int) -> None:
        """Make workers until there are as many as wanted; never more than have a task or can get one.

        Raises as `Nodes.fail` and `Capacity.look_around`.
        """
        self._capacity.look_around()
        if self._capacity.none_left():
            if not self.placed_workers:
                self.nodes.fail()
            return
        wanted = self._capacity.workers(self.workers)
        if tasks_waiting < wanted:
            wanted = min(wanted, tasks_waiting + sum(worker.needed for worker in self.workers))
        self.wanted_workers = wanted
        while len(self.workers) < wanted:
            self.workers.append(self._start())

    def release_idle(self) -> None:
        """End the workers that have no task, once none waits: somebody else can have their devices."""
        idle = [worker for worker in self.workers if not worker.needed]
        for worker in idle:
            self._end(worker)
        if idle:
            log.info("workers released=%d left=%d", len(idle), len(self.workers))

    def idle(self) -> list[Worker]:
        """Ready workers that can take another task, those with the least to do first."""
        return sorted(self._free, key=lambda worker: len(worker.tasks))

    def nothing_for(self, worker: Worker) -> None:
        """`idle` leaves it out until its tasks change or, within a second, somebody looks through all workers."""
        self._free.pop(worker, None)

    def give(self, worker: Worker, task: Task) -> None:
        """Hand a task to a worker from `idle`."""
        call = self._answers.expect(worker, worker.actor.label.remote(task, self._plan.shards[task.shard]))
        worker.tasks[call] = task
        self._sort_in(worker)
        self._ask_for_progress(worker)

    def poll(self, timeout_s: float) -> list[Event]:
        """Wait until something happens, at most `timeout_s`. Raises NoWorkers, ForeignPart, PlanDamaged."""
        events: list[Event] = []
        for worker, call in self._answers.take(timeout_s):
            if worker.waits_for(call):
                events += self._arrived(worker, call)
        if time.monotonic() - self._looked_s >= LOOK_EVERY_S:
            self._looked_s = time.monotonic()
            for worker in list(self.workers):
                self._sort_in(worker)
                events += self._stuck(worker)
        return events

    def device_failed(self, place: Place, message: str) -> None:
        """The device of a worker that was there failed, and what it was doing is not to blame."""
        self.nodes.device_failed(place, message)

    @property
    def devices(self) -> frozenset[str]:
        """Of the workers that can take tasks."""
        return self._roll.devices

    @property
    def ready_workers(self) -> int:
        """Workers that have their model."""
        return self._roll.ready

    @property
    def placed_workers(self) -> int:
        """Workers that have their model or are loading it."""
        return self._roll.placed

    def waiting(self) -> str:
        """As `why_waiting`; empty where a worker is ready."""
        return "" if self.ready_workers else self._capacity.why_waiting(self.workers)

    @property
    def busy(self) -> bool:
        """Whether any worker has a task."""
        return any(worker.needed for worker in self.workers)

    def progress(self) -> Progress:
        """What all workers have done so far, those that are gone included."""
        return self._progress

    def close(self) -> None:
        """End all workers at once; what they had not committed is not done."""
        for worker in self.workers:
            ray.kill(worker.actor)
        self.workers.clear()

    @property
    def _roll(self) -> _Roll:
        if self._rolled is None:
            ready = [worker for worker in self.workers if worker.ready]
            placed = sum(worker.place is not None for worker in self.workers)
            self._rolled = _Roll(frozenset(worker.device for worker in ready), len(ready), placed)
        return self._rolled

    def _start(self) -> Worker:
        workers = self._job.workers
        options: dict[str, Any] = {"num_cpus": workers.cores, "num_gpus": workers.gpus}
        if given_up := self.nodes.given_up:
            options["label_selector"] = {"ray.io/node-id": f"!in({', '.join(sorted(given_up))})"}
        return self._placing(LabelerActor.options(**options).remote(self._job, self._plan.reference))

    def _placing(self, actor: Any) -> Worker:
        worker = Worker(actor, since_s=time.monotonic())
        worker.placing = self._answers.expect(worker, actor.place.remote())
        return worker

    def _ask_for_progress(self, worker: Worker) -> None:
        """The worker answers after a time that grows with the fleet, or at once where an image is over its time."""
        if worker.tasks and worker.polling is None:
            within_s = max(PROGRESS_EVERY_S, len(self.workers) / PROGRESS_A_SECOND)
            worker.polling = self._answers.expect(worker, worker.actor.progress.remote(within_s))
            worker.answer_by_s = time.monotonic() + within_s

    def _arrived(self, worker: Worker, call: Call) -> list[Event]:
        try:
            value = call.result()
        except FATAL as error:
            # Raised as the worker raised it: Ray's own wrapping holds a traceback of another process.
            raise getattr(error, "cause", error) from None
        except StoreUnavailable as error:
            if call is worker.loading:
                return self._lost(worker, Loss("node", describe(error), str(error)))
            task = worker.tasks.pop(call)
            self._sort_in(worker)
            return [Unavailable(task, describe(error))]
        except ActorUnavailableError as error:
            return self._doubt(worker, call, describe(error))
        except RayError as error:
            if isinstance(error, RayTaskError):
                worker.progress.running = worker.tasks.get(call)
            return self._lost(worker, why_lost(worker, error, self._job.output))
        return self._moved_on(worker, call, value)

    def _doubt(self, worker: Worker, call: Call, message: str) -> list[Event]:
        """A worker does not answer and Ray cannot say yet whether it died, with its node or alone: ask until it can."""
        if worker.probing is None:
            log.warning("worker unreachable: %s", message)
            worker.ready, worker.since_s, self._rolled = False, time.monotonic(), None
            self._sort_in(worker)
        if call in worker.tasks:
            worker.unreachable.append(worker.tasks.pop(call))
        worker.probing = self._answers.expect(worker, worker.actor.place.remote())
        return []

    def _moved_on(self, worker: Worker, call: Call, value: Any) -> list[Event]:
        if call is worker.probing:
            # It is back, but the answers to its tasks are lost: nobody's fault.
            return self._lost(worker, Loss("node", "the connection to it was lost for a time"))
        if call is worker.placing:
            worker.placing, worker.place, worker.since_s, self._rolled = None, value, time.monotonic(), None
            old_pids = self._old_pids.get(value.node_id, [])
            worker.loading = self._answers.expect(worker, worker.actor.load.remote(old_pids))
            return []
        assert worker.place is not None
        if call is worker.loading:
            worker.loading, worker.ready, self._rolled = None, True, None
            self._sort_in(worker)
            self.nodes.worked(worker.place)
            log.info("worker ready host=%s pid=%d %s", worker.place.host, worker.place.pid, _pairs(value))
        elif call is worker.polling:
            self._progress = _moved(self._progress, worker.progress, value)
            worker.polling, worker.progress = None, value
            self._ask_for_progress(worker)
            return self._stuck(worker)
        else:
            del worker.tasks[call]
            self._sort_in(worker)
            self.nodes.finished(worker.place)
            return [Done(value)]
        return []

    def _stuck(self, worker: Worker) -> list[Event]:
        limits, now = self._job.limits, time.monotonic()
        if worker.probing is not None:
            if now - worker.since_s > UNREACHABLE_S:
                return self._lost(worker, Loss("node", f"unreachable for {UNREACHABLE_S:g} s"))
            return []
        allowed_s = limits.image_timeout_s * worker.progress.slowest_size
        if worker.progress.slowest_s > allowed_s:
            message = f"an image took more than {allowed_s:g} s (limits.image_timeout_s, times its size)"
            worker.progress.running = worker.progress.slowest
        elif worker.polling is not None and now - worker.answer_by_s > limits.image_timeout_s:
            message = f"did not answer for {limits.image_timeout_s:g} s (limits.image_timeout_s)"
        elif worker.loading is not None and now - worker.since_s > limits.start_timeout_s:
            message = f"not ready after {limits.start_timeout_s:g} s (limits.start_timeout_s)"
        else:
            return []
        return self._lost(worker, Loss("stuck", message))

    def _lost(self, worker: Worker, loss: Loss) -> list[Event]:
        self._end(worker)
        starting = worker.placing is not None or worker.loading is not None
        if loss.refusal is not None or (starting and loss.cause != "node"):
            self.nodes.failed(worker.place, loss.message, loss.refusal)
        elif loss.cause in ("crash", "stuck") and worker.place is not None:
            self.nodes.worked(worker.place)
        tasks = [*worker.unreachable, *worker.tasks.values()]
        running = worker.progress.running if worker.progress.running in tasks else (tasks[0] if tasks else None)
        others = [task for task in tasks if task != running]
        host = f"{worker.place.host} pid={worker.place.pid}" if worker.place else "unplaced"
        log.warning("worker lost cause=%s host=%s running=%s: %s", loss.cause, host, running, loss.message)
        return [Lost(loss.cause, loss.message, running, others, worker.place, loss.traceback)]

    def _sort_in(self, worker: Worker) -> None:
        """It is ready now, or is so no more, or has other tasks than before."""
        if worker.ready and len(worker.tasks) < TASKS_IN_FLIGHT:
            self._free[worker] = None
        else:
            self._free.pop(worker, None)

    def _end(self, worker: Worker) -> None:
        ray.kill(worker.actor)
        self.workers.remove(worker)
        worker.ended, worker.ready, self._rolled = True, False, None
        self._sort_in(worker)
        if worker.place is not None:
            self._old_pids.setdefault(worker.place.node_id, []).append(worker.place.pid)


def _moved(total: Progress, before: Progress, now: Progress) -> Progress:
    return Progress(
        total.images + now.images - before.images,
        total.objects + now.objects - before.objects,
        total.failed + now.failed - before.failed,
    )


def _pairs(values: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in values.items())
