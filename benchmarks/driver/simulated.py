"""A Ray that is simulated: actors that answer after a time of an injected clock. The driver's own code is the real one.

A worker labels its tasks one after another; an answer about its progress takes no time. What the simulation itself
computes is taken out of the driver's time.
"""

from __future__ import annotations

import heapq
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pipeline.driver.workers.answers import Answers
from pipeline.driver.workers.worker import Call, Worker
from pipeline.tasks import Place, Progress, SlowImage, Task, TaskReport

STAGES = {"fetch": 1.0, "decode": 1.0, "attention and maps": 20.0, "masks": 10.0, "write": 0.1}


class Reference:
    """What a call returns; Ray's thread answers it when its time has come."""

    def __init__(self, value: Any) -> None:
        self.value, self.call = value, Call()

    def future(self) -> Call:
        """As `ObjectRef.future`."""
        return self.call


class SimulatedRay:
    """Stands for the module `ray` and for `time` in the driver's modules.

    Attributes:
        own_s: CPU seconds of the simulation itself.
        idle_s: simulated seconds in which a worker that was ready had no task, all workers' together.
    """

    def __init__(self, images_of: Callable[[Task], int], image_s: float) -> None:
        self.images_of, self.image_s, self.chance = images_of, image_s, random.Random(0)
        self.now_s = self.own_s = self.idle_s = 0.0
        self.waits = self._answered = 0
        self._due: list[tuple[float, int, Reference]] = []
        self._count = 0

    def monotonic(self) -> float:
        """The injected clock."""
        return self.now_s

    def rest(self, seconds: float | None = None) -> bool:
        """As `Event.wait` and `time.sleep`."""
        with self._own():
            self._advance(self.now_s + (seconds or 0.0))
        return False

    def answer(self, value: Any, after_s: float = 0.0) -> Reference:
        """A reference that is answered then."""
        reference = Reference(value)
        self._count += 1
        heapq.heappush(self._due, (self.now_s + after_s, self._count, reference))
        return reference

    def wait(self, timeout_s: float) -> None:
        """Until something is answered, or has been since the last time, at most so long."""
        with self._own():
            self.waits += 1
            until_s = self.now_s + timeout_s
            self._advance(self.now_s)
            if not self._answered:
                self._advance(min(until_s, self._due[0][0]) if self._due else until_s)
            self._answered = 0

    def kill(self, actor: object) -> None:
        """Nobody dies here."""

    def worker(self, number: int) -> SimulatedActor:
        """One more actor."""
        return SimulatedActor(self, f"node-{number // 8:04d}", number)

    def _advance(self, to_s: float) -> None:
        while self._due and self._due[0][0] <= to_s:
            _, _, reference = heapq.heappop(self._due)
            reference.call.set_result(reference.value)
            self._answered += 1
        self.now_s = max(self.now_s, to_s)

    @contextmanager
    def _own(self) -> Iterator[None]:
        began = time.thread_time()
        yield
        self.own_s += time.thread_time() - began


class SimulatedAnswers(Answers):
    """Answers of a simulated Ray: to wait for one is to let its clock go on."""

    def __init__(self, ray: SimulatedRay) -> None:
        super().__init__()
        self._ray = ray

    def take(self, timeout_s: float) -> list[tuple[Worker, Call]]:
        """As `Answers.take`."""
        self._ray.wait(timeout_s)
        return super().take(0.0)


@dataclass
class SimulatedActor:
    """Calls are made as `actor.label.remote(task)`; each method below returns what has `remote`."""

    ray: SimulatedRay
    host: str
    number: int
    free_s: float = 0.0
    done: Progress = field(default_factory=Progress)

    @property
    def place(self) -> Method:
        return Method(lambda: self.ray.answer(Place(self.host, self.host, self.number), 1.0))

    @property
    def load(self) -> Method:
        return Method(self._load)

    @property
    def progress(self) -> Method:
        return Method(lambda within_s: self.ray.answer(self.done, within_s))

    @property
    def label(self) -> Method:
        return Method(self._label)

    def _load(self, *_: Any) -> Reference:
        self.free_s = self.ray.now_s + self.ray.chance.uniform(20, 40)
        return self.ray.answer({}, self.free_s - self.ray.now_s)

    def _label(self, task: Task, *_: Any) -> Reference:
        ray, images = self.ray, self.ray.images_of(task)
        ray.idle_s += max(0.0, ray.now_s - self.free_s)
        seconds = images * ray.chance.gammavariate(20.0, ray.image_s / 20.0)
        self.free_s = max(self.free_s, ray.now_s) + seconds
        self.done = Progress(self.done.images + images, self.done.objects + 5 * images)
        slowest = tuple(SlowImage(f"{task.shard}/{at}.jpg", seconds / images, 5, self.host) for at in range(5))
        rows: list[dict[str, Any]] | None = None if task.whole else [{} for _ in range(images)]
        report = TaskReport(
            task, images, 5 * images, {}, seconds, rows, {}, images, STAGES, self.host, seconds, slowest
        )
        return ray.answer(report, self.free_s - ray.now_s)


@dataclass(frozen=True)
class Method:
    """A method of an actor."""

    remote: Callable[..., Reference]
