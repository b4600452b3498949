"""Members beside one another in a tar come by one request: where most of a tar is wanted, it is read through."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock

from m2n2.kernels.bounded_cache import BoundedCache
from pipeline.containers.catalogue import is_address
from pipeline.containers.pattern import TAR, container_and_member
from pipeline.containers.tar_index import Span
from pipeline.containers.tars import Tars
from pipeline.failure import BadImage

REQUEST_BYTES = 4 << 20  # larger ones are no faster a byte
GAP_BYTES = 128 << 10  # between members, rather read than asked around
WAITING_BYTES = 64 << 20


@dataclass
class _Run:
    """Members that are read at once."""

    first: int
    stop: int
    asked: bool = False
    lock: Lock = field(default_factory=Lock)


class Neighbours:
    """Some images of tars, for who is going to read all of them, each once. Safe to use from several threads."""

    def __init__(self, tars: Tars, keys: Sequence[str]) -> None:
        self._tars = tars
        self._wanted: dict[str, list[str]] = defaultdict(list)
        for key in keys:
            if (parts := container_and_member(key, TAR)) and not is_address(key):
                self._wanted[parts[0]].append(key)
        self._runs: dict[str, dict[Span, _Run]] = {}
        self._read: BoundedCache[tuple[str, int], bytes] = BoundedCache(WAITING_BYTES)
        self._lock = Lock()

    @property
    def root(self) -> str:
        """The folder that keys are below."""
        return self._tars.root

    def url(self, key: str) -> str:
        """As `Tars.url`."""
        return self._tars.url(key)

    def check(self) -> None:
        """As `Tars.check`."""
        self._tars.check()

    def read(self, key: str) -> bytes:
        """As `Tars.read`."""
        return self._tars.read(key)

    def read_one_of_many(self, key: str, max_bytes: int) -> bytes:
        """As `Tars.read_one_of_many`."""
        parts = container_and_member(key, TAR)
        if parts is None or parts[0] not in self._wanted:
            return self._tars.read_one_of_many(key, max_bytes)
        tar, span = self._tars.place(key)
        run = self._run_of(tar, span)
        data = None if run is None else self._data(tar, run)
        if run is None or data is None:
            return self._tars.read_one_of_many(key, max_bytes)
        at = span.first - run.first
        return self._tars.whole(key, data[at : at + span.size], span.size)[:max_bytes]

    def _data(self, tar: str, run: _Run) -> bytes | None:
        """What was read for all of a run; None where that failed, or was forgotten for want of room."""
        with run.lock:
            if not run.asked:
                run.asked = True  # should it fail, each member is asked for by itself: only those that fail are lost
                data = self._tars.read_span(tar, Span(run.first, run.stop - run.first))
                self._read.put((tar, run.first), data, len(data))
            return self._read.get((tar, run.first))

    def _run_of(self, tar: str, span: Span) -> _Run | None:
        with self._lock:
            if tar not in self._runs:
                self._runs[tar] = _runs(self._spans(tar))
            return self._runs[tar].get(span)

    def _spans(self, tar: str) -> list[Span]:
        found = set()
        for key in self._wanted[tar]:
            try:
                found.add(self._tars.place(key)[1])
            except BadImage:  # told to who asks for it
                continue
        return sorted(found)


def _runs(spans: Sequence[Span]) -> dict[Span, _Run]:
    """Which members are read at once; those that are large or alone in none."""
    runs: dict[Span, _Run] = {}
    run: _Run | None = None
    for span in spans:
        stop = span.first + span.size
        if run is None or span.first - run.stop > GAP_BYTES or max(stop, run.stop) - run.first > REQUEST_BYTES:
            run = _Run(span.first, stop)
        run.stop = max(stop, run.stop)
        runs[span] = run
    return {span: run for span, run in runs.items() if span != (run.first, run.stop - run.first)}
