"""Which task goes next, and who is to blame when a worker dies. No Ray here: events in, tasks out.

A worker that dies or is stuck counts against the task that was running. From then on that task runs alone on its
worker, so that the next blame is certain. After two such losses a shard is taken apart, half by half, down to the image
that does it; that image's objects become error rows and its neighbours get their masks. Storage that does not answer
and nodes that go away count against nobody. A device that fails counts against itself, and the task is done on
another; only a task under which a second device fails is a suspect. What is known of suspects outlives the driver
(suspicions.py).

Where no more tasks wait than there are workers, the run has come to its tail: from there on workers get pieces of
shards, each a quarter of a worker's share of what waits, and none beside a whole shard, so that all end together.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from pipeline.driver.suspicions import Suspicions
from pipeline.failure import Failure
from pipeline.parts import Row
from pipeline.tasks import Task

Suspected = Literal["crash", "stuck", "device"]

CRASHES_TO_TAKE_APART = 2
LONGEST_PAUSE_S = 60.0
PIECES_A_WORKER = 4  # in the tail, of what waits; the next ones are smaller, as less waits then
IMAGES_IN_PIECES = 16_384  # of all shards in pieces: their rows are in the driver's memory, and it commits them
NOTHING_SUSPECTED = Suspicions()
REASON_OF: dict[Suspected, str] = {"crash": "worker_crash", "stuck": "worker_stuck", "device": "device_failed"}


@dataclass
class _Waiting:
    task: Task
    crashes: int = 0
    alone: bool = False
    pauses: int = 0
    not_before_s: float = 0.0
    failed_devices: frozenset[str] = frozenset()


class _NotBegun:
    """Shards that no worker has had yet, whole and in their order: 4 bytes each, for there may be a million.

    All are alike, so that whoever looks for a task that is free now looks at the first only.
    """

    def __init__(self, shards: np.ndarray) -> None:
        """Of these shards, (S,) int32."""
        self._shards, self._taken = shards, 0

    def __len__(self) -> int:
        return len(self._shards) - self._taken

    def __iter__(self) -> Iterator[_Waiting]:
        if self:
            yield _Waiting(Task(int(self._shards[self._taken])))

    def remove(self, first: _Waiting) -> None:
        """Take out the first; it is given as `deque.remove` wants it."""
        self._taken += 1

    def take_all(self) -> Iterator[_Waiting]:
        """Take all out."""
        while self:
            (first,) = self
            self.remove(first)
            yield first


@dataclass
class TakenApart:
    """A shard in pieces, for its crashes or in the tail.

    Attributes:
        rows: of the pieces that are done.
        poisonous: the images, by position, that kill their worker.
    """

    open_pieces: int
    rows: list[Row] = field(default_factory=list)
    poisonous: dict[int, Failure] = field(default_factory=dict)


class Dispatcher:
    """Holds every task that is not done. Times are seconds of one monotonic clock, given by the caller."""

    def __init__(self, shards: Iterable[tuple[int, int]], suspicions: Suspicions = NOTHING_SUSPECTED) -> None:
        """Begin with shards without a part, each as (index, number of images), and an earlier driver's suspicions."""
        todo = np.fromiter(shards, np.dtype([("shard", np.int32), ("images", np.int32)]))
        last = int(todo["shard"].max(initial=-1))
        self._images_s = np.zeros(last + 1, np.int32)  # of every shard up to the last one to do
        self._images_s[todo["shard"]] = todo["images"]
        self._left_s = np.zeros(last + 1, bool)
        self._left_s[todo["shard"]] = True
        self._left = len(todo)
        self._running: dict[Task, _Waiting] = {}
        self._apart: dict[int, TakenApart] = {}
        self._alone: dict[Task, _Waiting] = {}  # those that share a worker with nobody, waiting or running
        # Tasks wait in this order: what goes first, what nobody has begun, and what can wait.
        self._waiting: deque[_Waiting] = deque()
        suspected = {task.shard for task in suspicions.crashes} | suspicions.poisonous.keys()
        for shard in sorted(suspected):
            if shard <= last and self._left_s[shard]:
                self._waiting += self._begin(shard, suspicions)
        self._alone |= {waiting.task: waiting for waiting in self._waiting if waiting.alone}
        self._not_begun = _NotBegun(todo["shard"][~np.isin(todo["shard"], list(suspected))])
        self._later: deque[_Waiting] = deque()
        # Added up as tasks come and go: in the tail each piece asks for it, and as many tasks as workers wait.
        self._images_waiting = int(todo["images"].sum()) - sum(len(apart.poisonous) for apart in self._apart.values())

    @property
    def shards_left(self) -> int:
        """Shards that have no part yet."""
        return self._left

    @property
    def images_left(self) -> int:
        """Images of the shards that have no part yet."""
        return int(self._images_s[self._left_s].sum())

    @property
    def tasks_waiting(self) -> int:
        """Tasks that no worker has."""
        return len(self._waiting) + len(self._not_begun) + len(self._later)

    def next(
        self,
        in_flight: Sequence[Task],
        now_s: float,
        device: str = "",
        devices: Collection[str] = (),
        workers: int = 1,
        draining: bool = False,
    ) -> Task | None:
        """A task for a worker that has `in_flight` already, or None. Suspects share a worker with nobody.

        Args:
            device: the worker's.
            devices: of all workers that can take tasks: where one failed under a task, another gets it.
            workers: how many can take tasks: where no more tasks wait, this is the tail.
            draining: the run is to stop: only pieces of shards that others have begun, or all of these would be lost.
        """
        tail = 1 < workers >= self.tasks_waiting
        if (tail and any(task.whole for task in in_flight)) or (draining and not self._apart):
            return None
        if any(self._running[task].alone for task in in_flight):
            return None
        if tail:
            self._waiting += [*self._not_begun.take_all(), *self._later]
            self._later.clear()
        for queue in (self._waiting, self._not_begun, self._later):
            for waiting in queue:
                if device in waiting.failed_devices and set(devices) - waiting.failed_devices:
                    continue
                if draining and (waiting.task.whole or waiting.alone):
                    continue
                if waiting.not_before_s <= now_s and not (waiting.alone and in_flight):
                    if tail and not waiting.alone:
                        waiting = self._piece_of(waiting, workers)
                    else:
                        queue.remove(waiting)
                    self._running[waiting.task] = waiting
                    self._images_waiting -= self._images_of(waiting.task)
                    return waiting.task
        return None

    def done(self, task: Task, rows: Sequence[Row] | None) -> TakenApart | None:
        """A task is finished. Returns the shard's pieces when this was the last of a shard taken apart."""
        del self._running[task]
        self._alone.pop(task, None)
        if task.whole:
            self.committed(task.shard)
            return None
        self._apart[task.shard].rows += rows or []
        return self._piece_closed(task.shard)

    def spared(self, task: Task, device: str) -> bool:
        """A worker's device failed while this task was running: is the task spared for that?

        The first time it is, and goes to the end of the queue, so that other tasks show meanwhile what the device is
        worth. The next time not: the caller has to count a crash.
        """
        waiting = self._running[task]
        first_time = not waiting.failed_devices
        waiting.failed_devices |= {device}
        if first_time:
            self._later.append(self._taken_back(task))
        return first_time

    def crashed(self, task: Task, cause: Suspected, message: str) -> TakenApart | None:
        """The worker died, was stuck, or lost its device while this task was running. Returns as `done` does."""
        waiting = self._taken_back(task)
        waiting.crashes += 1
        first, stop = self._span(task)
        if waiting.crashes < CRASHES_TO_TAKE_APART:
            self._waits_alone(waiting)
            return None
        self._alone.pop(task, None)
        if stop - first == 1:
            self._images_waiting -= 1
            apart = self._apart.setdefault(task.shard, TakenApart(open_pieces=1))
            apart.poisonous[first] = Failure(REASON_OF[cause], message)
            return self._piece_closed(task.shard)
        middle = (first + stop) // 2
        for begin, end in ((middle, stop), (first, middle)):
            # A piece that fails again is cut at once: its shard has had its second chance. An image gets its own.
            crashes = 0 if end - begin == 1 else CRASHES_TO_TAKE_APART - 1
            self._waits_alone(_Waiting(Task(task.shard, begin, end), crashes))
        self._one_piece_more(task)
        return None

    def given_back(self, task: Task, suspect: bool) -> None:
        """The task's worker is gone through no fault of the task; a suspect had a part in a crash all the same."""
        waiting = self._taken_back(task)
        if suspect:
            self._waits_alone(waiting)
        else:
            self._waiting.appendleft(waiting)

    def unavailable(self, task: Task, now_s: float) -> None:
        """Storage did not answer: the task waits longer each time, and nothing counts against it."""
        waiting = self._taken_back(task)
        waiting.pauses += 1
        waiting.not_before_s = now_s + min(LONGEST_PAUSE_S, 2.0**waiting.pauses)
        self._later.append(waiting)

    def committed(self, shard: int) -> None:
        """A shard has its part now."""
        self._left -= int(self._left_s[shard])
        self._left_s[shard] = False

    def suspicions(self) -> Suspicions:
        """What has been found out so far, for the next driver."""
        return Suspicions(
            crashes={task: waiting.crashes for task, waiting in self._alone.items()},
            poisonous={shard: dict(apart.poisonous) for shard, apart in self._apart.items() if apart.poisonous},
        )

    def _piece_of(self, waiting: _Waiting, workers: int) -> _Waiting:
        """Take a waiting task, or the first images of it where it is more than a worker's share in the tail."""
        at, task = self._waiting.index(waiting), waiting.task
        first, stop = self._span(task)
        share = math.ceil(self._images_waiting / (PIECES_A_WORKER * workers))
        del self._waiting[at]
        in_pieces = sum(int(self._images_s[shard]) for shard in {*self._apart, task.shard})
        too_many = task.whole and in_pieces > IMAGES_IN_PIECES
        if stop - first <= share or too_many:
            return waiting
        self._one_piece_more(task)
        self._waiting.insert(at, replace(waiting, task=Task(task.shard, first + share, stop)))
        return replace(waiting, task=Task(task.shard, first, first + share))

    def _waits_alone(self, waiting: _Waiting) -> None:
        waiting.alone = True
        self._alone[waiting.task] = waiting
        self._waiting.appendleft(waiting)

    def _taken_back(self, task: Task) -> _Waiting:
        self._images_waiting += self._images_of(task)
        return self._running.pop(task)

    def _images_of(self, task: Task) -> int:
        first, stop = self._span(task)
        return stop - first

    def _span(self, task: Task) -> tuple[int, int]:
        return task.first, int(self._images_s[task.shard]) if task.stop is None else task.stop

    def _one_piece_more(self, cut: Task) -> None:
        if cut.whole:
            self._apart[cut.shard] = TakenApart(open_pieces=2)
        else:
            self._apart[cut.shard].open_pieces += 1

    def _begin(self, shard: int, suspicions: Suspicions) -> list[_Waiting]:
        """The shard, or the pieces that an earlier driver had it in: what they had labelled is labelled again."""
        suspects = {task: crashes for task, crashes in suspicions.crashes.items() if task.shard == shard}
        poisonous = dict(suspicions.poisonous.get(shard, {}))
        pieces = {task: crashes for task, crashes in suspects.items() if not task.whole}
        if not pieces and not poisonous:
            task = Task(shard)
            return [_Waiting(task, suspects.get(task, 0), alone=task in suspects)]
        if not pieces:  # it ended between the last verdict and the part: one image is tried once more
            position, _ = poisonous.popitem()
            pieces[Task(shard, position, position + 1)] = CRASHES_TO_TAKE_APART - 1
        taken = sorted([(task.first, task.stop or 0) for task in pieces] + [(at, at + 1) for at in poisonous])
        begins = [0, *(stop for _, stop in taken)]
        ends = [*(first for first, _ in taken), int(self._images_s[shard])]
        sound = [Task(shard, first, stop) for first, stop in zip(begins, ends, strict=True) if first < stop]
        self._apart[shard] = TakenApart(len(pieces) + len(sound), poisonous=poisonous)
        return [_Waiting(task, crashes, alone=True) for task, crashes in pieces.items()] + [*map(_Waiting, sound)]

    def _piece_closed(self, shard: int) -> TakenApart | None:
        apart = self._apart[shard]
        apart.open_pieces -= 1
        return self._apart.pop(shard) if apart.open_pieces == 0 else None
