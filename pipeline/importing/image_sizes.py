"""How large images are, for formats that measure in fractions of them: from their first bytes, some ahead."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from pipeline.config import Limits
from pipeline.failure import BadImage
from pipeline.importing.objects import BadRecord
from pipeline.parts import Size
from pipeline.storage.store import Store
from pipeline.worker.image_size import read_size

THREADS = 8
KEPT = 10_000


class ImageSizes:
    """Sizes of images below a root; the last ones are kept."""

    def __init__(self, images: Store | None) -> None:
        self._images = images
        self._sizes: OrderedDict[str, Future[Size]] = OrderedDict()
        self._threads = ThreadPoolExecutor(THREADS)

    def look_ahead(self, keys: Sequence[str]) -> None:
        """Begin to read images that will be asked for; of many, the first ones."""
        if self._images is not None:
            for key in keys[: KEPT // 2]:
                self._future(self._images, key)

    def size_of(self, key: str, place: str) -> tuple[float, float]:
        """Width and height in pixels as stored. Raises BadRecord, StoreUnavailable."""
        if self._images is None:
            raise BadRecord(place, "width, height", None, "the image's size in pixels, or --images to look at it")
        try:
            size = self._future(self._images, key).result()
        except BadImage as error:
            raise BadRecord(place, "image", key, f"an image that can be read: {error.failure.message}") from None
        return float(size.width), float(size.height)

    def _future(self, images: Store, key: str) -> Future[Size]:
        if key not in self._sizes:
            self._sizes[key] = self._threads.submit(read_size, images, key, Limits())
            if len(self._sizes) > KEPT:
                self._sizes.popitem(last=False)
        return self._sizes[key]
