"""The tail of a run: sixteen simulated workers, a clock of their own and the real dispatcher; no Ray."""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from pipeline.config import parse_job
from pipeline.driver.dispatch import IMAGES_IN_PIECES, Dispatcher
from pipeline.driver.fleet import TASKS_IN_FLIGHT, Fleet, _Worker
from pipeline.tasks import Task
from tests.pipeline.make_data import EMPTY_PLAN

WORKERS = 16
START_S = 1.0  # of a task whose first image could not be fetched while another was running


@dataclass(eq=False)
class SimulatedWorker:
    tasks: list[Task] = field(default_factory=list)
    images_left: int = 0


class Simulation:
    """A run of equal shards; an image takes 1 s on average, with a standard deviation of 0.7 s."""

    def __init__(self, shards: int, shard_images: int, tail: bool, seed: int) -> None:
        self.dispatcher = Dispatcher([(shard, shard_images) for shard in range(shards)])
        self.shard_images, self.tail, self.chance = shard_images, tail, random.Random(seed)
        self.workers = [SimulatedWorker() for _ in range(WORKERS)]
        self.events: list[tuple[float, int]] = []
        self.finished: list[float] = []

    def run(self) -> list[float]:
        """When each image was finished, in seconds."""
        self.hand_out(0.0)
        while self.events:
            now_s, index = heapq.heappop(self.events)
            self.finished.append(now_s)
            self.workers[index].images_left -= 1
            if self.workers[index].images_left:
                self.next_image(index, now_s)
            else:
                self.task_done(index, now_s)
        return self.finished

    def next_image(self, index: int, now_s: float) -> None:
        heapq.heappush(self.events, (now_s + self.chance.gammavariate(2.0, 0.5), index))

    def begin(self, index: int, now_s: float) -> None:
        task = self.workers[index].tasks[0]
        self.workers[index].images_left = (task.stop or self.shard_images) - task.first
        self.next_image(index, now_s)

    def task_done(self, index: int, now_s: float) -> None:
        tasks = self.workers[index].tasks
        task = tasks.pop(0)
        rows: list[dict[str, Any]] = [{} for _ in range(task.first, task.stop or 0)]
        if apart := self.dispatcher.done(task, None if task.whole else rows):
            assert len(apart.rows) == self.shard_images
            self.dispatcher.committed(task.shard)
        if tasks:
            self.begin(index, now_s)
        self.hand_out(now_s)

    def hand_out(self, now_s: float) -> None:
        """As the driver does: those with the least to do first."""
        for _ in range(TASKS_IN_FLIGHT):
            for index in sorted(range(WORKERS), key=lambda each: len(self.workers[each].tasks)):
                self.give(index, now_s)

    def give(self, index: int, now_s: float) -> None:
        tasks = self.workers[index].tasks
        if len(tasks) == TASKS_IN_FLIGHT:
            return
        task = self.dispatcher.next(tasks, now_s, workers=WORKERS if self.tail else 0)
        if task is not None:
            tasks.append(task)
            if len(tasks) == 1:
                self.begin(index, now_s + START_S)


def simulate(shards: int, shard_images: int, tail: bool, seed: int = 0) -> list[float]:
    simulation = Simulation(shards, shard_images, tail, seed)
    finished = simulation.run()
    assert simulation.dispatcher.shards_left == 0
    assert len(finished) == shards * shard_images
    return finished


def share_of_the_last_twentieth(finished: list[float]) -> float:
    """Of the run's time, the share that its last 5 % of images take."""
    return 1 - finished[int(len(finished) * 0.95) - 1] / finished[-1]


@pytest.mark.parametrize(
    ("shards", "shard_images"),
    [(100, 128), (160, 64), (48, 128), (157, 100), (1000, 32), (32, 128), (32, 512), (16, 256)],
)
def test_the_last_twentieth_of_the_images_takes_at_most_7_percent_of_the_time(shards: int, shard_images: int) -> None:
    for seed in range(3):
        assert share_of_the_last_twentieth(simulate(shards, shard_images, tail=True, seed=seed)) <= 0.07


def test_without_its_tail_the_same_run_would_be_late() -> None:
    """That the simulation can tell."""
    assert share_of_the_last_twentieth(simulate(100, 128, tail=False)) > 0.1


def test_the_driver_holds_the_rows_of_so_many_images_at_most() -> None:
    shards, size = 255, 512
    dispatcher = Dispatcher([(shard, size) for shard in range(shards)])
    given = [dispatcher.next([], 0.0, workers=shards + 1) for _ in range(shards + 1)]
    in_pieces = {task.shard for task in given if task is not None and not task.whole}
    assert 0 < len(in_pieces) * size <= IMAGES_IN_PIECES


def test_a_run_that_is_to_stop_finishes_the_shards_that_are_in_pieces_and_begins_no_other() -> None:
    dispatcher = Dispatcher([(0, 32), (1, 32)])
    first = dispatcher.next([], 0.0, workers=2)
    assert first is not None
    assert not first.whole
    task: Task | None = first
    while task is not None:
        assert task.shard == 0
        dispatcher.done(task, [{} for _ in range(task.first, task.stop or 0)])
        task = dispatcher.next([], 0.0, workers=2, draining=True)
    dispatcher.committed(0)
    assert dispatcher.shards_left == 1
    assert dispatcher.tasks_waiting == 1


def test_idle_workers_are_released_and_not_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[object] = []
    monkeypatch.setattr("ray.kill", killed.append)
    monkeypatch.setattr(Fleet, "_look_around", lambda self, at_once=False: None)
    monkeypatch.setattr(Fleet, "_start", lambda self: _Worker("new", None, 0.0))
    workers = {"workers": {"count": 4, "gpus": 0}}
    fleet = Fleet(parse_job({"images": "a", "clicks": "b", "output": "c"} | workers, "job"), EMPTY_PLAN)
    busy = _Worker("busy", None, 0.0, ready=True, tasks={object(): Task(0)})
    doubtful = _Worker("doubtful", None, 0.0, unreachable=[Task(1)])
    fleet._workers = [busy, _Worker("idle", None, 0.0, ready=True), doubtful, _Worker("loading", None, 0.0)]
    fleet.release_idle()
    assert killed == ["idle", "loading"]
    fleet.keep(tasks_waiting=0)
    assert fleet._workers == [busy, doubtful]
    fleet.keep(tasks_waiting=1)  # a task came back
    assert [worker.actor for worker in fleet._workers] == ["busy", "doubtful", "new"]
