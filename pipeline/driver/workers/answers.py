"""Answers of workers as they come, in one queue: nobody looks through the thousands of calls that have none yet."""

from __future__ import annotations

from queue import Empty, SimpleQueue
from typing import Any

from pipeline.driver.workers.worker import Call, Worker


class Answers:
    """Of all workers of a fleet. Ray's own thread puts them in; the driver's loop takes them out."""

    def __init__(self) -> None:
        self._come: SimpleQueue[tuple[Worker, Call]] = SimpleQueue()

    def expect(self, worker: Worker, reference: Any) -> Call:
        """The call of this `ObjectRef`; its answer, or why there is none, will be among those to take."""
        call: Call = reference.future()
        call.add_done_callback(lambda call: self._come.put((worker, call)))
        return call

    def take(self, timeout_s: float) -> list[tuple[Worker, Call]]:
        """All that have come; where none has, wait for one, at most so long. Finished tasks are first.

        A task that was finished before its worker died must be taken in before the death is.
        """
        come: list[tuple[Worker, Call]] = []
        try:
            come.append(self._come.get(timeout=timeout_s))
            while True:
                come.append(self._come.get_nowait())
        except Empty:
            return sorted(come, key=lambda each: each[1] not in each[0].tasks)
