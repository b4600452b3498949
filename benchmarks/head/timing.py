"""The least of several measurements: what others on the machine add to a time is left out."""

from __future__ import annotations

import time
from collections.abc import Callable


def least(work: Callable[[], object], repeats: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds of the quickest of `repeats` calls, by a clock such as `time.process_time`, all threads' CPU seconds."""
    best = float("inf")
    for _ in range(repeats):
        began = clock()
        work()
        best = min(best, clock() - began)
    return best
