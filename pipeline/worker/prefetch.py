"""Fetch ahead: images are fetched and decoded in threads before the device asks for them, bounded by bytes."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.config import Job
from pipeline.containers.source import read_together
from pipeline.failure import BadImage, Failure
from pipeline.shards.shard_file import ImageClicks
from pipeline.worker.images import decode_image, decoded_bytes, exif_orientation, fetch_image

if TYPE_CHECKING:
    from m2n2.backbones.reading import Reader

FETCH_THREADS = 8


@dataclass(frozen=True)
class Fetched:
    """One image, ready for the device: (H, W, 3) uint8 pixels, or why there are none.

    Attributes:
        exif_orientation: how a viewer would turn the pixels further, 1 (not at all) to 8.
        fetch_s, decode_s: seconds of the thread that made it ready, without those that it waited for room.
        resized: what the network will see of it, as `Reader.resized` gives it.
        held_bytes: of the budget.
    """

    clicks: ImageClicks
    pixels: np.ndarray | None
    failure: Failure | None
    exif_orientation: int = 1
    fetch_s: float = 0.0
    decode_s: float = 0.0
    resized: np.ndarray | None = None
    held_bytes: int = 0


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
    leaving it stops the threads' work on this shard. At most `max_bytes` of decoded images wait; beside them each
    thread holds one file as it was fetched.

    Args:
        images: the shard's.
        job: the job, for storage and limits.
        max_bytes: decoded images that may wait.
        decoding: entered for as long as a thread works on an image's bytes, not while it waits.
        reader: resizes images for the network as they are decoded, so that no device waits for that.
    """

    def __init__(
        self,
        images: Sequence[ImageClicks],
        job: Job,
        max_bytes: int,
        decoding: Callable[[], AbstractContextManager[None]] = nullcontext,
        reader: Reader | None = None,
    ) -> None:
        self._job, self._decoding, self._reader = job, decoding, reader
        self._source = read_together(job.image_source, [each.image for each in images if not _is_lost(each)])
        self._budget = _ByteBudget(max_bytes)
        self._ready: queue.SimpleQueue[Fetched | BaseException] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._left = len(images)
        # Threads of this shard's own: in a shared pool the shard that waits for the device could keep all of them
        # blocked on its full budget, and the shard that has the device would wait for its images forever.
        self._threads = ThreadPoolExecutor(FETCH_THREADS, thread_name_prefix="fetch")
        for image in images:
            self._threads.submit(self._load, image)

    def __enter__(self) -> Prefetch:
        return self

    def __exit__(self, *reason: object) -> None:
        self._stopped.set()
        self._budget.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def __iter__(self) -> Iterator[Fetched]:
        while images := self.next_ones(1):
            yield from images

    def next_ones(self, most: int) -> list[Fetched]:
        """Wait for an image, and take with it those that are ready, up to `most` together; empty at the end."""
        return [self._next(), *self.ready_ones(most - 1)] if self._left else []

    def ready_ones(self, most: int) -> list[Fetched]:
        """Up to `most` images, without a wait."""
        taken: list[Fetched] = []
        while len(taken) < most and not self._ready.empty():
            taken.append(self._next())
        return taken

    def _next(self) -> Fetched:
        item = self._ready.get()
        if isinstance(item, BaseException):
            raise item
        self._left -= 1
        self._budget.give_back(item.held_bytes)
        return item

    def _load(self, image: ImageClicks) -> None:
        if self._stopped.is_set():
            return
        try:
            self._ready.put(self._fetched(image))
        except BadImage as error:
            self._ready.put(Fetched(image, None, error.failure))
        except BaseException as error:  # handed to the consumer, which raises it
            self._ready.put(error)

    def _fetched(self, image: ImageClicks) -> Fetched:
        if _is_lost(image):
            return Fetched(image, None, None)
        name, began = self._source.url(image.image), time.monotonic()
        data = fetch_image(self._source, image.image, self._job.limits)
        fetch_s = time.monotonic() - began
        with self._decoding():
            size = decoded_bytes(data, name, self._job.limits) + (self._reader.input_bytes if self._reader else 0)
            to_turn = exif_orientation(data, name) if self._job.orientation == "stored" else 1
        self._budget.take(size)
        try:
            with self._decoding():
                began = time.monotonic()
                pixels = decode_image(data, name, self._job.orientation)
                resized = self._reader.resized(pixels) if self._reader else None
                return Fetched(image, pixels, None, to_turn, fetch_s, time.monotonic() - began, resized, size)
        except BaseException:
            self._budget.give_back(size)
            raise


def _is_lost(image: ImageClicks) -> bool:
    """Whether nothing can come of an image, whatever is in it."""
    return all(each.failure for each in image.objects)
