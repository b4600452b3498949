"""Ray actors that stand for workers: they answer as one does, after a time in which they do nothing."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

import ray

from pipeline.tasks import Place, Progress, Task, TaskReport


class Light:
    """A worker without a model, images or storage; every shard has so many images."""

    def __init__(self, shard_images: int, image_s: float) -> None:
        self._shard_images, self._image_s = shard_images, image_s
        self._device, self._progress = threading.Lock(), Progress()

    @ray.method(concurrency_group="control")
    def place(self) -> Place:
        """As a worker says it."""
        return Place(ray.get_runtime_context().get_node_id(), os.uname().nodename, os.getpid())

    @ray.method(concurrency_group="device")
    def load(self, old_pids: Any) -> dict[str, Any]:
        """Nothing is loaded."""
        return {}

    @ray.method(concurrency_group="control")
    def progress(self, within_s: float) -> Progress:
        """As a worker says it."""
        time.sleep(within_s)
        return self._progress

    @ray.method(concurrency_group="device")
    def label(self, task: Task, shard: Any) -> TaskReport:
        """Wait as long as labelling takes."""
        images = (task.stop or self._shard_images) - task.first
        with self._device:
            time.sleep(images * self._image_s)
            self._progress.images += images
        rows: list[dict[str, Any]] | None = None if task.whole else [{} for _ in range(images)]
        return TaskReport(task, images, images, {}, images * self._image_s, rows)
