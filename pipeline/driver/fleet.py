"""The workers: Ray actors that are made, watched, replaced, and given tasks only once they have said they are ready."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, RayError, RayTaskError

from m2n2.errors import InvalidAttention, InvalidDevice, InvalidWeights
from pipeline.config import Job
from pipeline.describe import describe
from pipeline.driver.events import Cause, Done, Event, Lost, Unavailable
from pipeline.driver.nodes import Nodes, NoWorkers
from pipeline.driver.room import Room, find_room, free
from pipeline.driver.waiting import Starting, why_unschedulable, why_waiting
from pipeline.parts import ForeignPart
from pipeline.plan import Plan, PlanDamaged
from pipeline.storage.refusals import UnusableStorage, refusal
from pipeline.storage.retry import StoreUnavailable
from pipeline.tasks import Place, Progress, Task
from pipeline.worker.device import DeviceFailed
from pipeline.worker.labeler import Labeler

TASKS_IN_FLIGHT = 2
PROGRESS_EVERY_S = 1.0
PROGRESS_A_SECOND = 25  # of all workers together; each answer costs the driver a fraction of a millisecond
COUNT_AGAIN_EVERY_S = 10.0
UNREACHABLE_S = 120.0  # by then Ray has found out whether a node that does not answer is dead
# The output is not in order, whoever looks at it.
FATAL = (ForeignPart, PlanDamaged)
# A node that says so at the start of a worker will say it of the next one too.
REFUSED = (InvalidWeights, InvalidAttention, InvalidDevice, UnusableStorage)

# Ray's own restarts would hand a shard out again behind the driver's back: dead workers are replaced here.
_OPTIONS: dict[str, Any] = {
    "max_restarts": 0,
    "max_task_retries": 0,
    "concurrency_groups": {"device": 2, "control": 2},
}
LabelerActor: Any = ray.remote(**_OPTIONS)(Labeler)

log = logging.getLogger("m2n2.run")


@dataclass(eq=False)
class _Worker:
    actor: Any
    placing: Any
    since_s: float
    loading: Any = None
    polling: Any = None
    polled_s: float = 0.0
    place: Place | None = None
    ready: bool = False
    tasks: dict[Any, Task] = field(default_factory=dict)
    progress: Progress = field(default_factory=Progress)
    unreachable: list[Task] = field(default_factory=list)
    probing: Any = None
    ended: bool = False

    @property
    def node(self) -> str:
        """Id of the node that it is on; empty before it has a place."""
        return self.place.node_id if self.place else ""

    @property
    def device(self) -> str:
        """What tells its device from all others; empty before it has a place."""
        return self.place.device if self.place else ""

    @property
    def needed(self) -> bool:
        """Whether it has tasks, of which it may not be known what became of them."""
        return bool(self.tasks or self.unreachable)

    def references(self) -> list[Any]:
        # Tasks first: one that finished before its worker died must be taken in before the death is.
        if self.probing is not None:
            return [self.probing]
        return [each for each in (*self.tasks, self.placing, self.loading, self.polling) if each is not None]


class Fleet:
    """Keeps as many workers as the job asks for, or as the cluster has room for, and turns what happens to events.

    Attributes:
        wanted_workers: how many would have something to do, of those that the job asks for or that there is room for.
    """

    def __init__(self, job: Job, plan: Plan) -> None:
        self._job, self._plan = job, plan
        self._workers: list[_Worker] = []
        self._old_pids: dict[str, list[int]] = {}
        self._nodes = Nodes()
        self._room, self._counted_s = Room(), -math.inf
        self._room_seen_s = time.monotonic()
        self._finished = Progress()
        self.wanted_workers = 0

    def keep(self, tasks_waiting: int) -> None:
        """Make workers until there are as many as wanted; never more than have a task or can get one.

        Raises as `Nodes.fail`; NoWorkers too where no node has been large enough for one worker within
        `limits.schedule_timeout_s`.
        """
        self._look_around()
        self._end_without_room()
        if self._nodes.none_left(self._room.nodes):
            self._look_around(at_once=True)
            if not self._nodes.none_left(self._room.nodes):
                return
            if not any(worker.place is not None for worker in self._workers):
                self._nodes.fail()
            return
        useful = sum(worker.needed for worker in self._workers) + tasks_waiting
        self.wanted_workers = min(self._wanted(), useful)
        while len(self._workers) < self.wanted_workers:
            self._workers.append(self._start())

    def release_idle(self) -> None:
        """End the workers that have no task, once none waits: somebody else can have their devices."""
        idle = [worker for worker in self._workers if not worker.needed]
        for worker in idle:
            self._end(worker)
        if idle:
            log.info("workers released=%d left=%d", len(idle), len(self._workers))

    def idle(self) -> list[_Worker]:
        """Ready workers that can take another task, those with the least to do first."""
        free = [worker for worker in self._workers if worker.ready and len(worker.tasks) < TASKS_IN_FLIGHT]
        return sorted(free, key=lambda worker: len(worker.tasks))

    def give(self, worker: _Worker, task: Task) -> None:
        """Hand a task to a worker from `idle`."""
        worker.tasks[worker.actor.label.remote(task, self._plan.shards[task.shard])] = task

    def poll(self, timeout_s: float) -> list[Event]:
        """Wait until something happens, at most `timeout_s`. Raises NoWorkers, ForeignPart, PlanDamaged."""
        self._ask_for_progress()
        owners = {reference: worker for worker in self._workers for reference in worker.references()}
        if not owners:
            time.sleep(timeout_s)
            return []
        ready, _ = ray.wait(list(owners), num_returns=len(owners), timeout=0)
        if not ready:
            ready, _ = ray.wait(list(owners), num_returns=1, timeout=timeout_s)
        events: list[Event] = []
        arrived = set(ready)
        for reference in (each for each in owners if each in arrived):
            if not owners[reference].ended:
                events += self._arrived(owners[reference], reference)
        return events + self._stuck()

    def device_failed(self, place: Place, message: str) -> None:
        """The device of a worker that was there failed, and what it was doing is not to blame."""
        self._nodes.device_failed(place, message)

    @property
    def devices(self) -> frozenset[str]:
        """Of the workers that can take tasks."""
        return frozenset(worker.device for worker in self._workers if worker.ready)

    @property
    def ready_workers(self) -> int:
        """Workers that have their model."""
        return sum(worker.ready for worker in self._workers)

    @property
    def placed_workers(self) -> int:
        """Workers that have their model or are loading it."""
        return sum(worker.place is not None for worker in self._workers)

    def waiting(self) -> str:
        """As `why_waiting`; empty where a worker is ready."""
        if self.ready_workers:
            return ""
        now = time.monotonic()
        starting = [Starting(now - worker.since_s, worker.place is not None) for worker in self._workers]
        return why_waiting(starting, self._job.workers, self._room, free() if starting else "")

    @property
    def busy(self) -> bool:
        """Whether any worker has a task."""
        return any(worker.needed for worker in self._workers)

    def progress(self) -> Progress:
        """What all workers have done so far, those that are gone included."""
        everyone = [self._finished, *(worker.progress for worker in self._workers)]
        return Progress(
            images=sum(each.images for each in everyone),
            objects=sum(each.objects for each in everyone),
            failed=sum(each.failed for each in everyone),
        )

    def close(self) -> None:
        """End all workers at once; what they had not committed is not done."""
        for worker in self._workers:
            ray.kill(worker.actor)
        self._workers.clear()

    def _look_around(self, at_once: bool = False) -> None:
        now = time.monotonic()
        if at_once or now - self._counted_s > COUNT_AGAIN_EVERY_S:
            self._room, self._counted_s = find_room(self._job.workers, self._nodes.given_up), now
        if self._room.nodes:
            self._room_seen_s = now

    def _end_without_room(self) -> None:
        limit_s = self._job.limits.schedule_timeout_s
        if time.monotonic() - self._room_seen_s <= limit_s:
            return
        self._look_around(at_once=True)
        if (for_s := time.monotonic() - self._room_seen_s) > limit_s:
            raise NoWorkers(why_unschedulable(self._job.workers, self._room, for_s))

    def _wanted(self) -> int:
        if self._job.workers.count != "auto":
            return self._job.workers.count
        # Workers that run on a node where no other starts go on; the room there is not counted.
        there = sum(worker.node in self._nodes.given_up for worker in self._workers)
        # One even where there is no room yet: its request is what makes an autoscaler add a node.
        return max(1, self._room.workers + there)

    def _start(self) -> _Worker:
        workers = self._job.workers
        options: dict[str, Any] = {"num_cpus": workers.cores, "num_gpus": workers.gpus}
        if given_up := self._nodes.given_up:
            options["label_selector"] = {"ray.io/node-id": f"!in({', '.join(sorted(given_up))})"}
        actor = LabelerActor.options(**options).remote(self._job, self._plan.reference)
        return _Worker(actor, placing=actor.place.remote(), since_s=time.monotonic())

    def _ask_for_progress(self) -> None:
        now, every_s = time.monotonic(), max(PROGRESS_EVERY_S, len(self._workers) / PROGRESS_A_SECOND)
        for worker in self._workers:
            if worker.tasks and worker.polling is None and now - worker.polled_s > every_s:
                worker.polling, worker.polled_s = worker.actor.progress.remote(), now

    def _arrived(self, worker: _Worker, reference: Any) -> list[Event]:
        try:
            value = ray.get(reference)
        except FATAL as error:
            # Raised as the worker raised it: Ray's own wrapping holds a traceback of another process.
            raise getattr(error, "cause", error) from None
        except StoreUnavailable as error:
            if reference is worker.loading:
                return self._lost(worker, "node", describe(error), str(error))
            return [Unavailable(worker.tasks.pop(reference), describe(error))]
        except ActorUnavailableError as error:
            return self._doubt(worker, reference, describe(error))
        except RayError as error:
            if isinstance(error, RayTaskError):
                return self._failed(worker, reference, error)
            return self._lost(worker, "node" if _node_is_gone(worker, error) else "crash", describe(error), str(error))
        return self._moved_on(worker, reference, value)

    def _failed(self, worker: _Worker, reference: Any, error: RayTaskError) -> list[Event]:
        """An exception in the worker: a defect, or a device in a state that only a new process gets out of."""
        if isinstance(error.cause, REFUSED):
            self._nodes.failed(worker.place, describe(error.cause), error.cause)
            return self._lost(worker, "node", describe(error.cause), str(error))
        if worker.ready and (found := refusal(error.cause)):
            # Of images it is an error row; here it is the run's own output, and the same for every shard.
            raise NoWorkers(f"workers cannot write to {self._job.output}: {found}") from None
        log.error("a worker failed: %s", error)
        worker.progress.running = worker.tasks.get(reference)
        cause: Cause = "device" if worker.ready and isinstance(error.cause, DeviceFailed) else "crash"
        return self._lost(worker, cause, describe(error.cause), str(error))

    def _doubt(self, worker: _Worker, reference: Any, message: str) -> list[Event]:
        """A worker does not answer and Ray cannot say yet whether it died, with its node or alone: ask until it can."""
        if worker.probing is None:
            log.warning("worker unreachable: %s", message)
            worker.ready, worker.since_s = False, time.monotonic()
        if reference in worker.tasks:
            worker.unreachable.append(worker.tasks.pop(reference))
        worker.probing = worker.actor.place.remote()
        return []

    def _moved_on(self, worker: _Worker, reference: Any, value: Any) -> list[Event]:
        now = time.monotonic()
        if reference is worker.probing:
            # It is back, but the answers to its tasks are lost: nobody's fault.
            return self._lost(worker, "node", "the connection to it was lost for a time")
        if reference is worker.placing:
            worker.placing, worker.place, worker.since_s = None, value, now
            worker.loading = worker.actor.load.remote(self._old_pids.get(value.node_id, []))
        elif reference is worker.loading:
            assert worker.place is not None
            worker.loading, worker.ready = None, True
            self._nodes.worked(worker.place)
            log.info("worker ready host=%s pid=%d %s", worker.place.host, worker.place.pid, _pairs(value))
        elif reference is worker.polling:
            worker.polling, worker.progress = None, value
        else:
            del worker.tasks[reference]
            assert worker.place is not None
            self._nodes.finished(worker.place)
            return [Done(value)]
        return []

    def _stuck(self) -> list[Event]:
        events: list[Event] = []
        limits, now = self._job.limits, time.monotonic()
        for worker in list(self._workers):
            if worker.probing is not None:
                if now - worker.since_s > UNREACHABLE_S:
                    events += self._lost(worker, "node", f"unreachable for {UNREACHABLE_S:g} s")
                continue
            allowed_s = limits.image_timeout_s * worker.progress.slowest_size
            if worker.progress.slowest_s > allowed_s:
                message = f"an image took more than {allowed_s:g} s (limits.image_timeout_s, times its size)"
                worker.progress.running = worker.progress.slowest
            elif worker.polling is not None and now - worker.polled_s > limits.image_timeout_s:
                message = f"did not answer for {limits.image_timeout_s:g} s (limits.image_timeout_s)"
            elif worker.loading is not None and now - worker.since_s > limits.start_timeout_s:
                message = f"not ready after {limits.start_timeout_s:g} s (limits.start_timeout_s)"
            else:
                continue
            events += self._lost(worker, "stuck", message)
        return events

    def _lost(self, worker: _Worker, cause: Cause, message: str, traceback: str = "") -> list[Event]:
        self._end(worker)
        starting = worker.placing is not None or worker.loading is not None
        if starting and cause != "node":
            self._nodes.failed(worker.place, message)
        elif cause in ("crash", "stuck") and worker.place is not None:
            self._nodes.worked(worker.place)
        tasks = [*worker.unreachable, *worker.tasks.values()]
        running = worker.progress.running if worker.progress.running in tasks else (tasks[0] if tasks else None)
        others = [task for task in tasks if task != running]
        host = f"{worker.place.host} pid={worker.place.pid}" if worker.place else "unplaced"
        log.warning("worker lost cause=%s host=%s running=%s: %s", cause, host, running, message)
        return [Lost(cause, message, running, others, worker.place, traceback)]

    def _end(self, worker: _Worker) -> None:
        ray.kill(worker.actor)
        self._workers.remove(worker)
        worker.ended = True
        self._finished = _sum(self._finished, worker.progress)
        if worker.place is not None:
            self._old_pids.setdefault(worker.place.node_id, []).append(worker.place.pid)


def _node_is_gone(worker: _Worker, error: Exception) -> bool:
    if getattr(error, "preempted", False) or "node has died" in str(error) or "node was terminated" in str(error):
        return True
    alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
    return worker.place is not None and worker.place.node_id not in alive


def _sum(one: Progress, other: Progress) -> Progress:
    return Progress(one.images + other.images, one.objects + other.objects, one.failed + other.failed)


def _pairs(values: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in values.items())
