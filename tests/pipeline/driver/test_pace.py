"""What the driver does beside a thousand workers grows with their number, not with its square, and leaves it time."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import Any

import pytest

from pipeline.config import parse_job
from pipeline.driver.dispatch import Dispatcher
from pipeline.driver.labelling import Labelling
from pipeline.driver.pace import BUSY_SHARE, LONGEST_REST_S, Pace
from pipeline.driver.seeing.metrics import RunMetrics
from pipeline.driver.workers.fleet import TASKS_IN_FLIGHT
from pipeline.driver.workers.worker import Worker
from pipeline.tasks import Progress, Task
from tests.pipeline.make_data import EMPTY_PLAN

WORKERS = 1_000
JOB = parse_job({"images": "a", "clicks": "b", "output": "c"}, "job")


class Clock:
    """Stands for the module `time`: seconds that pass, and those of them that are worked."""

    def __init__(self) -> None:
        self.now_s = self.worked_s = 0.0
        self.rests: list[float] = []

    def monotonic(self) -> float:
        return self.now_s

    def thread_time(self) -> float:
        return self.worked_s

    def sleep(self, seconds: float) -> None:
        self.wait(seconds)

    def work(self, seconds: float) -> None:
        self.now_s += seconds
        self.worked_s += seconds

    def wait(self, seconds: float) -> None:
        self.rests.append(seconds)
        self.now_s += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("pipeline.driver.pace.time", clock)
    return clock


def test_the_loop_is_busy_a_twentieth_of_its_time(clock: Clock) -> None:
    pace = Pace(clock.wait)
    for turn in range(100):
        clock.work(0.002 + 0.0002 * turn)
        pace.rest()
    assert clock.worked_s == pytest.approx(BUSY_SHARE * clock.now_s)


def test_a_turn_that_waited_long_enough_is_followed_by_the_next_at_once(clock: Clock) -> None:
    pace = Pace(clock.wait)
    clock.work(0.002)
    clock.now_s += 0.5  # for something to happen
    pace.rest()
    assert clock.rests == []


def test_it_never_rests_long(clock: Clock) -> None:
    pace = Pace(clock.wait)
    clock.work(60.0)  # a thousand workers were made
    pace.rest()
    assert clock.rests == [LONGEST_REST_S]


class Idle:
    """A fleet whose workers have nothing to do; it counts how often somebody looks through them."""

    devices = frozenset({"any"})

    def __init__(self) -> None:
        self.placed_workers = WORKERS
        self.workers = [Worker(number, 0.0, ready=True) for number in range(WORKERS)]
        self.looks = 0

    def idle(self) -> list[Worker]:
        self.looks += 1
        free = [worker for worker in self.workers if len(worker.tasks) < TASKS_IN_FLIGHT]
        return sorted(free, key=lambda worker: len(worker.tasks))

    def nothing_for(self, worker: Worker) -> None:
        """It will be offered again."""

    def give(self, worker: Worker, task: Task) -> None:
        worker.tasks[Future()] = task


def hand_out(fleet: Any, shards: int) -> None:
    heartbeat: Any = None
    dispatcher = Dispatcher([(shard, 8) for shard in range(shards)])
    metrics = RunMetrics("labels")
    Labelling(JOB, EMPTY_PLAN, dispatcher, fleet, heartbeat, metrics, lambda snapshot: None)._hand_out()


def test_the_workers_are_looked_through_once_a_task_in_flight(clock: Clock) -> None:
    fleet = Idle()
    hand_out(fleet, shards=5 * WORKERS)
    assert {len(worker.tasks) for worker in fleet.workers} == {TASKS_IN_FLIGHT}
    assert fleet.looks == TASKS_IN_FLIGHT


def test_nobody_gets_a_second_task_before_all_have_one(clock: Clock) -> None:
    fleet = Idle()
    fleet.placed_workers = 1  # so that this is no tail, in which shards are cut
    hand_out(fleet, shards=WORKERS)
    assert {len(worker.tasks) for worker in fleet.workers} == {1}


class Eventful:
    """A fleet of which something is heard eight times a second; after so many seconds the run is stopped."""

    devices: frozenset[str] = frozenset()
    placed_workers = ready_workers = wanted_workers = 1
    busy = False

    def __init__(self, clock: Clock, stop: threading.Event, seconds: float) -> None:
        self._clock, self._stop, self._seconds, self._images = clock, stop, seconds, 0

    def poll(self, timeout_s: float) -> list[Any]:
        self._clock.now_s += 0.125
        self._images += 1
        if self._clock.now_s >= self._seconds:
            self._stop.set()
        return []

    def idle(self) -> list[Worker]:
        return []

    def keep(self, tasks_waiting: int) -> None:
        """As many as are wanted."""

    def waiting(self) -> str:
        return ""

    def progress(self) -> Progress:
        return Progress(images=self._images)


def test_who_asked_is_told_how_far_the_run_is_twice_a_second_and_at_its_end(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.driver.labelling.time", clock)
    stop, told = threading.Event(), []
    heartbeat: Any = type("Silent", (), {"update": lambda *_: None})()
    fleet: Any = Eventful(clock, stop, seconds=2)
    labelling = Labelling(
        JOB,
        EMPTY_PLAN,
        Dispatcher([(0, 8)]),
        fleet,
        heartbeat,
        RunMetrics("labels"),
        lambda snapshot: told.append((clock.now_s, snapshot.progress.images)),
    )
    labelling.work(stop)
    assert told == [(0.125, 1), (0.625, 5), (1.125, 9), (1.625, 13), (2.0, 16)]
