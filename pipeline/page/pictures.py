"""The pixels of images, and what a browser shows of them: photos, thumbnails, masks."""

from __future__ import annotations

import io
from dataclasses import dataclass
from threading import Lock

import numpy as np
from PIL import Image

from m2n2.kernels.bounded_cache import BoundedCache
from pipeline.config import Job
from pipeline.failure import BadImage, Failure
from pipeline.image_key import outside_root
from pipeline.worker.images import decode_image, decoded_bytes, fetch_image

PIXELS_CACHE_BYTES = 400_000_000
THUMBNAILS_CACHE_BYTES = 50_000_000
THUMBNAIL_SIDE = 144
LARGEST_SHOWN = 24_000_000  # pixels: browsers do not draw much larger ones
LARGEST_SIDE = 16_000


@dataclass(frozen=True)
class Cutout:
    """A mask as a picture that is white where the mask is and transparent elsewhere.

    Attributes:
        png: the mask's box.
        left, top: of the box, in pixels of a picture of `width` x `height`.
    """

    png: bytes
    left: int
    top: int
    width: int
    height: int


class Pictures:
    """Fetches and decodes as the workers do; what was used last is kept. Safe to use from several threads."""

    def __init__(self, job: Job) -> None:
        self._source, self._limits, self._orientation = job.image_source_for_a_look, job.limits, job.orientation
        self._pixels: BoundedCache[str, np.ndarray] = BoundedCache(PIXELS_CACHE_BYTES)
        self._thumbnails: BoundedCache[str, bytes] = BoundedCache(THUMBNAILS_CACHE_BYTES)
        self._fetching = Lock()

    def pixels(self, key: str) -> np.ndarray:
        """(H, W, 3) uint8. Raises BadImage, StoreUnavailable."""
        known = self._pixels.get(key)
        if known is not None:
            return known
        pixels = self._decoded(key)
        self._pixels.put(key, pixels, pixels.nbytes)
        return pixels

    def photo(self, key: str) -> bytes:
        """The image as JPEG, in its own size where a browser can show that. Raises BadImage, StoreUnavailable."""
        pixels = self.pixels(key)
        height, width = pixels.shape[:2]
        shrink = min(1.0, (LARGEST_SHOWN / (height * width)) ** 0.5, LARGEST_SIDE / max(height, width))
        picture = Image.fromarray(pixels)
        if shrink < 1:
            picture = picture.resize((max(1, int(width * shrink)), max(1, int(height * shrink))), reducing_gap=2.0)
        return _jpeg(picture, quality=92)

    def thumbnail(self, key: str) -> bytes:
        """A small JPEG. Raises BadImage, StoreUnavailable."""
        known = self._thumbnails.get(key)
        if known is None:
            with self._fetching:  # one at a time: a list of large photos must not take all memory
                pixels = self._pixels.get(key)
                picture = Image.fromarray(self._decoded(key) if pixels is None else pixels)
            picture.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), reducing_gap=2.0)
            known = _jpeg(picture, quality=78)
            self._thumbnails.put(key, known, len(known))
        return known

    def _decoded(self, key: str) -> np.ndarray:
        if problem := outside_root(key):
            raise BadImage(Failure("image_forbidden", f"image {key!r}: {problem}"))
        data = fetch_image(self._source, key, self._limits)
        decoded_bytes(data, key, self._limits)
        return decode_image(data, key, self._orientation)


def cut_out(mask: np.ndarray) -> Cutout | None:
    """The picture of a mask, (h, w) bool; None where it is empty."""
    height, width = mask.shape
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    top, left = int(rows[0]), int(columns[0])
    box = mask[top : rows[-1] + 1, left : columns[-1] + 1]
    picture = Image.fromarray(box.astype(np.uint8), "P")
    picture.putpalette([0, 0, 0, 255, 255, 255])
    sink = io.BytesIO()
    picture.save(sink, "PNG", bits=1, transparency=0, compress_level=1)
    return Cutout(sink.getvalue(), left, top, width, height)


def heat(map_hw: np.ndarray) -> bytes:
    """A map of 0..1, (h, w), as a grayscale PNG; what is near is bright."""
    sink = io.BytesIO()
    Image.fromarray((255 * (1 - np.clip(map_hw, 0, 1))).astype(np.uint8)).save(sink, "PNG", compress_level=1)
    return sink.getvalue()


def _jpeg(picture: Image.Image, quality: int) -> bytes:
    sink = io.BytesIO()
    picture.save(sink, "JPEG", quality=quality)
    return sink.getvalue()
