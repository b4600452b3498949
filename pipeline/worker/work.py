"""What a worker is working on now and for how long: it tells a worker that is stuck from one that waits for storage."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from pipeline.tasks import Task

# An ordinary image has no more: a slow machine does a hundred times as much within the default `image_timeout_s`.
ORDINARY_OBJECTS = 30
ORDINARY_PIXELS = 4_000_000


def image_size(objects: int, pixels: int) -> float:
    """How many ordinary images one counts as, 1 at least: the work is each object's, and grows with the pixels."""
    return max(1.0, objects / ORDINARY_OBJECTS) * max(1.0, pixels / ORDINARY_PIXELS)


@dataclass(frozen=True)
class _Image:
    task: Task
    size: float
    began_s: float


class WorkUnderWay:
    """Images that are being decoded or segmented in this process. Fetching and committing do not count as work.

    Storage has time limits of its own (`storage.give_up_s`), and an outage must never look like a hanging image.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began: dict[object, _Image] = {}

    @contextmanager
    def image_of(self, task: Task, size: float = 1.0) -> Iterator[None]:
        """For as long as the block runs, an image of this task and `image_size` is being worked on."""
        token = object()
        self._began[token] = _Image(task, size, self._clock())
        try:
            yield
        finally:
            del self._began[token]

    @contextmanager
    def images_of(self, task: Task, sizes: Sequence[float]) -> Iterator[None]:
        """The same for several images at once."""
        with ExitStack() as stack:
            for size in sizes:
                stack.enter_context(self.image_of(task, size))
            yield

    def is_over_time(self, image_timeout_s: float) -> bool:
        """Whether an image has taken longer than so many seconds, times its size."""
        _, seconds, size = self.longest()
        return seconds > image_timeout_s * size

    def longest(self) -> tuple[Task | None, float, float]:
        """Of the image that has taken longest for its size so far: its task, seconds, and size."""
        under_way, now_s = list(self._began.values()), self._clock()
        if not under_way:
            return None, 0.0, 1.0
        image = max(under_way, key=lambda each: (now_s - each.began_s) / each.size)
        return image.task, now_s - image.began_s, image.size
