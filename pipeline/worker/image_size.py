"""How large an image is, from the first bytes of its file where they say it."""

from __future__ import annotations

import io

from PIL import Image

from pipeline.config import Limits
from pipeline.containers.source import ImageSource
from pipeline.parts import Size
from pipeline.worker.images import FORMATS, decoded_bytes, fetch_image

FIRST_BYTES = 1 << 16


def read_size(source: ImageSource, key: str, limits: Limits) -> Size:
    """Width and height as stored. Raises BadImage as fetching and opening it would, StoreUnavailable."""
    data = fetch_image(source, key, limits, FIRST_BYTES)
    if _size_of(data) is None and len(data) == FIRST_BYTES:
        data = fetch_image(source, key, limits)
    decoded_bytes(data, source.url(key), limits)  # says what is wrong with it, or that it is too large
    size = _size_of(data)
    assert size is not None, "it was opened a moment ago"
    return size


def _size_of(data: bytes) -> Size | None:
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return Size(*image.size)
    except Exception:  # more of the file may be needed; `decoded_bytes` says what else is wrong
        return None
