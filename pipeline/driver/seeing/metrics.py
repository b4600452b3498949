"""What Prometheus hears of the driver: how far the run is, which workers it has and wants, and what it does again."""

from __future__ import annotations

from ray.util import metrics

from pipeline.describe import without_credentials
from pipeline.driver.events import Lost
from pipeline.worker.metrics import StorageMetrics

STORAGE_AWAY = "storage"


class RunMetrics:
    """Served by Ray's endpoint of the driver's node; each carries the run's output.

    Use as a context manager: once a run has ended it wants no workers, so that nobody is called for it.
    """

    def __init__(self, output: str) -> None:
        """`output` is the run's address, for people."""
        run = {"output": without_credentials(output)}
        self._shards_left = _gauge("m2n2_shards_left", "Shards without a part", run)
        self._ready = _gauge("m2n2_workers_ready", "Workers that have their model", run)
        self._wanted = _gauge("m2n2_workers_wanted", "Workers that the run could use now", run)
        self._lost = _counter("m2n2_workers_lost", "Workers that died or were ended, by cause", run, "cause")
        self._retried = _counter("m2n2_tasks_retried", "Tasks handed out again, by reason", run, "reason")
        self._storage = StorageMetrics()

    def __enter__(self) -> RunMetrics:
        return self

    def __exit__(self, *reason: object) -> None:
        self._ready.set(0)
        self._wanted.set(0)
        self._storage.update()

    def update(self, shards_left: int, ready: int, wanted: int) -> None:
        """How the run stands now. Said again and again: Ray forgets a gauge of which it hears nothing."""
        self._shards_left.set(shards_left)
        self._ready.set(ready)
        self._wanted.set(wanted)
        self._storage.update()

    def lost(self, event: Lost) -> None:
        """A worker is gone, and what it had is handed out again."""
        self._lost.inc(tags={"cause": event.cause})
        if handed_out := len(event.others) + (event.running is not None):
            self._retried.inc(handed_out, tags={"reason": event.cause})

    def unavailable(self) -> None:
        """A task was given back, since storage does not answer."""
        self._retried.inc(tags={"reason": STORAGE_AWAY})


def _gauge(name: str, description: str, run: dict[str, str]) -> metrics.Gauge:
    gauge = metrics.Gauge(name, description, tag_keys=tuple(run))
    gauge.set_default_tags(run)
    return gauge


def _counter(name: str, description: str, run: dict[str, str], tag: str) -> metrics.Counter:
    counter = metrics.Counter(name, description, tag_keys=(*run, tag))
    counter.set_default_tags(run)
    return counter
