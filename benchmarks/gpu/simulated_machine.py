"""A machine whose device and cores take the time they are told, on a clock that stands while any thread works.

The threads are real and so is what they compute; only how long it takes is not. So the same comes out on a machine with
two busy cores as on any other.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOOK_AGAIN_S = 0.012  # longer than a thread that waits for the interpreter's lock goes without a look at it


class Clock:
    """Time that goes on to the next sleeper's end when all threads of this process wait. Use as a context manager."""

    def __init__(self) -> None:
        self._now_s = 0.0
        self._sleepers: list[tuple[float, int, threading.Event]] = []
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._ticker = threading.Thread(target=self._tick, name="clock", daemon=True)

    def __enter__(self) -> Clock:
        self._ticker.start()
        return self

    def __exit__(self, *reason: object) -> None:
        self._stopped.set()
        self._ticker.join()

    def now_s(self) -> float:
        """Seconds since it was made."""
        return self._now_s

    def sleep(self, seconds: float) -> None:
        """Wait until so much time has passed."""
        woken = threading.Event()
        with self._lock:
            heapq.heappush(self._sleepers, (self._now_s + seconds, id(woken), woken))
        woken.wait()

    def _tick(self) -> None:
        before: dict[str, str] | None = None
        while not self._stopped.is_set():
            waiting = _switches_of_waiting_threads()
            if waiting is not None and waiting == before and self._wake_next():
                waiting = None
            before = waiting
            time.sleep(LOOK_AGAIN_S)

    def _wake_next(self) -> bool:
        with self._lock:
            if not self._sleepers:
                return False
            self._now_s = self._sleepers[0][0]
            while self._sleepers and self._sleepers[0][0] <= self._now_s:
                heapq.heappop(self._sleepers)[2].set()
            return True


def _switches_of_waiting_threads() -> dict[str, str] | None:
    """How often each other thread of this process has begun to wait; None while one of them does not."""
    found = {}
    own = str(threading.get_native_id())
    for task in Path("/proc/self/task").iterdir():
        if task.name == own:
            continue
        try:
            lines = (task / "status").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):  # it has ended
            return None
        fields = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        if not fields["State"].startswith("S"):
            return None
        found[task.name] = fields["voluntary_ctxt_switches"]
    return found


class Machine:
    """One device, which serves one thread after the other in their order, and cores.

    Attributes:
        device_s, core_s: what device and cores were given to do so far, by stage.
    """

    def __init__(self, clock: Clock, cores: int) -> None:
        self.device_s: Counter[str] = Counter()
        self.core_s: Counter[str] = Counter()
        self._clock = clock
        self._cores = threading.Semaphore(cores)
        self._lock = threading.Lock()
        self._queue: deque[threading.Event] = deque()

    @contextmanager
    def device(self, stage: str, seconds: float) -> Iterator[None]:
        """Have the device for so long; the block runs at its beginning."""
        turn = threading.Event()
        with self._lock:
            self._queue.append(turn)
            self._queue[0].set()
        turn.wait()
        try:
            yield
            self._clock.sleep(seconds)
            self.device_s[stage] += seconds
        finally:
            with self._lock:
                self._queue.popleft()
                if self._queue:
                    self._queue[0].set()

    def work(self, stage: str, seconds: float) -> None:
        """Have a core for so long."""
        with self._cores:
            self._clock.sleep(seconds)
        with self._lock:
            self.core_s[stage] += seconds
