"""What is left of a worker that died: why, its traceback, and the last lines of its log, stored beside the run.

Clusters go away, and their logs with them. The last 32 of a run stay, each of at most 64 kB; an older one is replaced.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.describe import describe, without_credentials
from pipeline.driver.events import Lost
from pipeline.storage.store import Store
from pipeline.tasks import Place

FOLDER = "status/workers"
KEPT = 32
MAX_BYTES = 64_000
LAST_LINES = 100
LONGEST_LINE = 500
ANSWER_S = 20.0

log = logging.getLogger("m2n2.run")

Tail = Callable[[Place], str]


def log_on_node(place: Place) -> str:
    """The last lines of a worker's log, fetched by a Ray task on its node; why there are none where it cannot be."""
    affinity = NodeAffinitySchedulingStrategy(place.node_id, soft=False)
    look: Any = ray.remote(num_cpus=0, max_retries=0)(last_lines).options(scheduling_strategy=affinity)
    reference = look.remote(place.log_files)
    try:
        return str(ray.get(reference, timeout=ANSWER_S))
    except Exception as error:  # the node may be gone, or have no memory left for one process more
        ray.cancel(reference)
        return f"(its log could not be fetched: {describe(error)})"


def last_lines(files: tuple[str, ...]) -> str:
    """The last hundred lines of each file, long lines cut."""
    found: list[str] = []
    for file in files:
        try:
            with Path(file).open("rb") as log_file:
                log_file.seek(max(0, Path(file).stat().st_size - MAX_BYTES))  # a log may have gigabytes
                text = log_file.read(MAX_BYTES).decode(errors="replace")
            last = [line[:LONGEST_LINE] for line in text.splitlines()[-LAST_LINES:]]
        except OSError as error:
            last = [f"({describe(error)})"]
        found += [f"--- last lines of {file}", *last]
    return "\n".join(found)


class PostMortems:
    """Writes one text a dead worker, in a thread of its own: the driver waits for neither nodes nor storage.

    Use as a context manager: leaving it writes what is left, and fetches logs for `ANSWER_S` more at most.
    """

    def __init__(self, store: Store, tail: Tail = log_on_node) -> None:
        self._store, self._tail = store, tail
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="post-mortem")
        self._pending = threading.Semaphore(KEPT)
        self._keys: deque[str] = deque()
        self._fetch_until_s = math.inf

    def __enter__(self) -> PostMortems:
        return self

    def __exit__(self, *reason: object) -> None:
        # A run that ends because its workers die ends with the newest deaths: these are worth some seconds.
        self._fetch_until_s = time.monotonic() + ANSWER_S
        self._thread.shutdown(wait=True)

    def add(self, lost: Lost) -> None:
        """Keep what is known of this worker; of a storm of deaths only as many as are kept anyway."""
        if self._pending.acquire(blocking=False):
            self._thread.submit(self._write, lost, datetime.now(UTC))

    def _write(self, lost: Lost, at: datetime) -> None:
        try:
            reachable = lost.cause != "node" and time.monotonic() < self._fetch_until_s
            tail = self._tail(lost.place) if lost.place is not None and reachable else ""
            self._store.put(self._next_key(), text_of(lost, at, tail))
        except OSError as error:
            log.warning("what is left of a worker could not be stored: %s", describe(error))
        finally:
            self._pending.release()

    def _next_key(self) -> str:
        """A key that is free, else that of the oldest, whichever driver wrote it."""
        if not self._keys:
            there = {entry.key: entry.modified for entry in self._store.listing(FOLDER)}
            keys = [f"{FOLDER}/{number:02d}.txt" for number in range(KEPT)]
            self._keys += sorted(keys, key=lambda key: (key in there, there.get(key, datetime.min), key))
        self._keys.rotate(-1)
        return self._keys[-1]


def text_of(lost: Lost, at: datetime, tail: str) -> bytes:
    """What is stored: the facts, the traceback, the end of the log; the end is kept where it is too long."""
    where = f"{lost.place.host} pid {lost.place.pid}" if lost.place else "before it said where it runs"
    facts = [
        f"at       {at.isoformat(timespec='seconds')}",
        f"worker   {where}",
        f"cause    {lost.cause}: {lost.message}",
        f"running  {lost.running or 'nothing'}",
    ]
    head = without_credentials("\n".join(facts)).encode()[: MAX_BYTES // 8]
    trace = without_credentials(lost.traceback).encode()[-MAX_BYTES // 4 :]
    end = without_credentials(tail).encode()[-MAX_BYTES // 2 :]
    return b"\n\n".join([each for each in (head, trace, end) if each]) + b"\n"
