"""The driver's loop works a twentieth of its time at most: what happens meanwhile is taken in together.

A turn costs what has happened since the last one, so it is bursts that this is for: a thousand workers that are made
at once, or that answer together. Workers have a task more than they work on, and do not wait for a driver that rests.
"""

from __future__ import annotations

import time
from collections.abc import Callable

BUSY_SHARE = 0.05
LONGEST_REST_S = 1.0


class Pace:
    """Of one loop, in the thread that makes this."""

    def __init__(self, wait: Callable[[float], object]) -> None:
        """`wait` rests so many seconds, or fewer where there is a reason to go on at once."""
        self._wait = wait
        self._began_s, self._cpu_s = time.monotonic(), time.thread_time()

    def rest(self) -> None:
        """After each turn: wait until the CPU seconds since the last call are `BUSY_SHARE` of the time since then."""
        worked_s = time.thread_time() - self._cpu_s
        left_s = self._began_s + worked_s / BUSY_SHARE - time.monotonic()
        if left_s > 0:
            self._wait(min(LONGEST_REST_S, left_s))
        self._began_s, self._cpu_s = time.monotonic(), time.thread_time()
