"""Fetch ahead: images are fetched and decoded in threads before the device asks for them, bounded by bytes."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from pipeline.config import Job
from pipeline.failure import BadImage, Failure
from pipeline.images import decode_image, decoded_bytes, fetch_image
from pipeline.plan import ImageClicks


@dataclass(frozen=True)
class Fetched:
    """One image, ready for the device: (H, W, 3) uint8 pixels, or why there are none."""

    clicks: ImageClicks
    pixels: np.ndarray | None
    failure: Failure | None


class _ByteBudget:
    """Bytes of decoded images that wait. One image larger than the whole budget may wait alone."""

    def __init__(self, limit: int) -> None:
        self._limit, self._taken, self._closed = limit, 0, False
        self._changed = threading.Condition()

    def take(self, size: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._taken == 0 or self._taken + size <= self._limit)
            self._taken += size

    def give_back(self, size: int) -> None:
        with self._changed:
            self._taken -= size
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class Prefetch:
    """Iterates over the images of one shard as they become ready, in any order.

    Raises from the iteration whatever is not the image's fault, such as StoreUnavailable. Use as a context manager:
    leaving it stops the threads' work on this shard.
    """

    def __init__(self, images: Sequence[ImageClicks], job: Job, threads: ThreadPoolExecutor, max_bytes: int) -> None:
        self._job, self._store = job, job.image_store
        self._budget = _ByteBudget(max_bytes)
        self._ready: queue.SimpleQueue[Fetched | BaseException] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._left = len(images)
        for image in images:
            threads.submit(self._load, image)

    def __enter__(self) -> Prefetch:
        return self

    def __exit__(self, *reason: object) -> None:
        self._stopped.set()
        self._budget.close()

    def __iter__(self) -> Iterator[Fetched]:
        for _ in range(self._left):
            item = self._ready.get()
            if isinstance(item, BaseException):
                raise item
            if item.pixels is not None:
                self._budget.give_back(item.pixels.nbytes)
            yield item

    def _load(self, image: ImageClicks) -> None:
        if self._stopped.is_set():
            return
        try:
            self._ready.put(Fetched(image, self._pixels(image), None))
        except BadImage as error:
            self._ready.put(Fetched(image, None, error.failure))
        except BaseException as error:  # handed to the consumer, which raises it
            self._ready.put(error)

    def _pixels(self, image: ImageClicks) -> np.ndarray | None:
        if all(each.failure for each in image.objects):
            return None
        name = self._store.url(image.image)
        data = fetch_image(self._store, image.image, self._job.limits)
        size = decoded_bytes(data, name, self._job.limits)
        self._budget.take(size)
        try:
            return decode_image(data, name, self._job.orientation)
        except BaseException:
            self._budget.give_back(size)
            raise
