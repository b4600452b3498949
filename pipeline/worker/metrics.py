"""What Prometheus hears of a worker, and of any process's storage; Ray's own endpoint on every node serves it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ray.util import metrics

from pipeline.parts import Row
from pipeline.storage.traffic import traffic


class StorageMetrics:
    """Of this process's storage, what was counted between one call and the next."""

    def __init__(self) -> None:
        self._told = traffic()
        self._bytes_read = metrics.Counter("m2n2_bytes_read", description="Bytes read from storage")
        self._errors = metrics.Counter("m2n2_storage_errors", description="Storage requests that failed and may pass")

    def update(self) -> None:
        """Tell what has come since the last call."""
        told, self._told = self._told, traffic()
        _add(self._bytes_read, self._told.bytes_read - told.bytes_read)
        _add(self._errors, self._told.errors - told.errors)


class WorkerMetrics:
    """What a worker has done."""

    def __init__(self) -> None:
        self._images = metrics.Counter("m2n2_images_done", description="Images labelled or failed")
        self._objects = metrics.Counter("m2n2_objects_done", description="Objects labelled")
        self._failed = metrics.Counter("m2n2_objects_failed", description="Objects failed", tag_keys=("reason",))
        self._stages = metrics.Counter(
            "m2n2_stage_seconds", description="Seconds of each stage, all threads' added up", tag_keys=("stage",)
        )
        self._seconds = metrics.Histogram(
            "m2n2_image_seconds",
            description="Device and CPU seconds an image",
            boundaries=[0.1, 0.3, 1, 3, 10, 30, 100],
        )

    def image_done(self, rows: Sequence[Row]) -> None:
        """One image's rows are there."""
        self._images.inc()
        self._seconds.observe(sum(row["seconds"] for row in rows))
        for row in rows:
            if "error" in row:
                self._failed.inc(tags={"reason": row["error"]["reason"]})
            else:
                self._objects.inc()

    def task_done(self, stages: Mapping[str, float]) -> None:
        """A task is finished, which took so many seconds in each stage."""
        for stage, seconds in stages.items():
            _add(self._stages, seconds, stage=stage)


def _add(counter: metrics.Counter, value: float, **tags: str) -> None:
    if value > 0:  # Ray refuses to count nothing
        counter.inc(value, tags)
