"""What a worker is working on now and for how long: it tells a worker that is stuck from one that waits for storage."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.tasks import Task


class WorkUnderWay:
    """Images that are being decoded or segmented in this process. Fetching and committing do not count as work.

    Storage has time limits of its own (`storage.give_up_s`), and an outage must never look like a hanging image.
    """

    def __init__(self) -> None:
        self._began: dict[object, tuple[float, Task]] = {}

    @contextmanager
    def image_of(self, task: Task) -> Iterator[None]:
        """For as long as the block runs, an image of this task is being worked on."""
        token = object()
        self._began[token] = (time.monotonic(), task)
        try:
            yield
        finally:
            del self._began[token]

    def longest(self) -> tuple[Task | None, float]:
        """The task with the image that has taken longest so far, and that image's seconds."""
        under_way = list(self._began.values())
        if not under_way:
            return None, 0.0
        began_s, task = min(under_way, key=lambda each: each[0])
        return task, time.monotonic() - began_s
