"""A fleet of a thousand: what happens is heard of at once, and costs as much as of one worker; no Ray."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.config import parse_job
from pipeline.driver.events import Lost
from pipeline.driver.workers.answers import Answers
from pipeline.driver.workers.fleet import LOOK_EVERY_S, PROGRESS_A_SECOND, Fleet
from pipeline.driver.workers.worker import Call, Worker
from pipeline.tasks import Place, Progress, Task

WORKERS = 1_000
PLAN: Any = SimpleNamespace(shards=range(WORKERS))
JOB = parse_job({"images": "a", "clicks": "b", "output": "c", "limits": {"image_timeout_s": 60}}, "job")


class Clock(Answers):
    """Time passes while nobody has answered. Workers answer how far they are when their time has come."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s, self.asked = 0.0, 0
        self.never: Call | None = None
        self._due: list[tuple[float, int, Call]] = []

    def monotonic(self) -> float:
        return self.now_s

    def take(self, timeout_s: float) -> list[tuple[Worker, Call]]:
        until_s = self.now_s + timeout_s
        while self._due and self._due[0][0] <= until_s:
            self.now_s, _, call = heapq.heappop(self._due)
            if call is not self.never and not call.done():
                call.set_result(Progress())
                return super().take(0)
        self.now_s = until_s
        return super().take(0)

    def ask(self, within_s: float) -> Any:
        self.asked += 1
        call = Call()
        heapq.heappush(self._due, (self.now_s + within_s, self.asked, call))
        return SimpleNamespace(future=lambda: call)


class CountedList(list[Worker]):
    """It counts how often somebody goes through it."""

    passes = 0

    def __iter__(self) -> Iterator[Worker]:
        self.passes += 1
        return super().__iter__()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("pipeline.driver.workers.fleet.time", clock)
    monkeypatch.setattr("ray.kill", lambda actor: None)
    return clock


def busy_fleet(clock: Clock) -> Fleet:
    """Each worker has a task that lasts for hours."""
    fleet = Fleet(JOB, PLAN, clock)
    label = SimpleNamespace(remote=lambda *_: SimpleNamespace(future=Future))
    actor = SimpleNamespace(label=label, progress=SimpleNamespace(remote=clock.ask))
    fleet.workers = CountedList(
        Worker(actor, 0.0, place=Place("id", "gpu-07", number), ready=True) for number in range(WORKERS)
    )
    for number, worker in enumerate(fleet.workers):
        fleet.give(worker, Task(number))
    return fleet


def test_so_many_workers_a_second_say_how_far_they_are(clock: Clock) -> None:
    fleet = busy_fleet(clock)
    for _ in range(5 * WORKERS):
        assert fleet.poll(0.5) == []
    assert WORKERS < clock.asked <= WORKERS + PROGRESS_A_SECOND * (clock.now_s + 1)


def test_one_of_a_thousand_that_is_stuck_is_heard_of_at_once(clock: Clock) -> None:
    """Its answer that an image is over its time is acted on as it comes, before anybody looks through all workers."""
    fleet = busy_fleet(clock)
    fleet.poll(0.5)
    stuck = fleet.workers[7]
    assert stuck.polling is not None
    stuck.polling.set_result(Progress(slowest=Task(7), slowest_s=60.1))
    [event] = fleet.poll(0.0)
    assert isinstance(event, Lost)
    assert (event.cause, event.running) == ("stuck", Task(7))


def test_one_that_does_not_answer_at_all_has_its_time_from_when_the_answer_was_due(clock: Clock) -> None:
    fleet = busy_fleet(clock)
    frozen = fleet.workers[7]
    clock.never = frozen.polling
    due_s, events = frozen.answer_by_s, fleet.poll(0.5)
    while not events:
        events = fleet.poll(0.5)
    assert [type(event) for event in events] == [Lost]
    assert due_s + 60 < clock.now_s <= due_s + 60 + LOOK_EVERY_S + 0.5


def test_a_worker_for_which_there_is_nothing_is_offered_again_once_a_second_or_when_its_tasks_change(
    clock: Clock,
) -> None:
    fleet = busy_fleet(clock)
    fleet.poll(0.0)
    first, second = fleet.idle()[:2]
    for worker in (first, second):
        fleet.nothing_for(worker)
    (call,) = first.tasks
    call.set_result("done")
    fleet.poll(0.0)
    assert first in fleet.idle()
    assert second not in fleet.idle()
    fleet.poll(LOOK_EVERY_S)
    assert second in fleet.idle()


def test_nobody_goes_through_all_workers_for_what_happens_to_one(clock: Clock) -> None:
    fleet = busy_fleet(clock)
    fleet.poll(0.0)
    assert isinstance(fleet.workers, CountedList)
    fleet.workers.passes = 0
    for worker in fleet.workers[:100]:
        assert worker.polling is not None
        worker.polling.set_result(Progress(images=2, objects=10))
        fleet.poll(0.0)
        assert len(fleet.devices) == 1
    assert fleet.progress().images == 200
    assert fleet.workers.passes <= 2, "once for the devices, and once a second"
