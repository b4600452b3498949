"""Images: fetching within limits, decoding to RGB in one defined way.

What becomes of every kind of file (tests/pipeline/worker/test_images.py shows each):

- JPEG, PNG, WebP, TIFF, BMP, GIF are read; of an animated or multi-page file, the first frame;
- grayscale and palette become RGB; CMYK is converted; 16-bit samples keep their upper 8 bits; transparency is laid
  over white; floating-point and 32-bit integer samples are refused, their range being unknown;
- EXIF orientation is ignored, so clicks are in pixels of the stored image; with `orientation: displayed` the image is
  turned first, and clicks, masks and sizes are in pixels of the turned image.
"""

from __future__ import annotations

import io
import warnings
from typing import Literal

import numpy as np
from PIL import Image, ImageOps

from pipeline.config import Limits
from pipeline.describe import describe
from pipeline.failure import BadImage, Failure
from pipeline.storage.refusals import UnusableStorage
from pipeline.storage.retry import KeyUnavailable, StoreUnavailable
from pipeline.storage.store import Store

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")
SIXTEEN_BIT = ("I;16", "I;16B", "I;16L", "I;16N")
UNKNOWN_RANGE = ("F", "I")


def fetch_image(store: Store, key: str, limits: Limits) -> bytes:
    """The file's bytes. Raises BadImage (missing, forbidden, unavailable, unreadable, too large), StoreUnavailable."""
    try:
        # One byte more than allowed tells a file that is too large without fetching all of it.
        data = store.read_one_of_many(key, limits.max_image_bytes + 1)
    except KeyUnavailable as error:
        raise BadImage(Failure("image_unavailable", describe(error))) from error
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise BadImage(Failure("image_missing", f"{store.url(key)}: there is no such object")) from None
    except PermissionError as error:
        raise BadImage(Failure("image_forbidden", f"{store.url(key)}: {describe(error)}")) from error
    except UnusableStorage:
        raise  # of this worker's environment, not of the image
    except Exception as error:  # a key that this storage cannot have: too long, not encodable, ...
        if isinstance(error, StoreUnavailable):
            raise
        raise BadImage(Failure("image_unreadable", f"{store.url(key)}: {describe(error)}")) from error
    if len(data) > limits.max_image_bytes:
        found = f"more than {limits.max_image_bytes} bytes; allowed: limits.max_image_bytes"
        raise BadImage(Failure("image_too_many_bytes", f"{store.url(key)}: found {found}"))
    return data


def decoded_bytes(data: bytes, name: str, limits: Limits) -> int:
    """How much memory the decoded image takes, from the file's header alone. Raises BadImage."""
    with _opened(data, name) as image:
        width, height = image.size
    if width * height > limits.max_image_pixels:
        found = f"{width}x{height} pixels; allowed: {limits.max_image_pixels} (limits.max_image_pixels)"
        raise BadImage(Failure("image_too_many_pixels", f"{name}: found {found}"))
    return 3 * width * height


def decode_image(data: bytes, name: str, orientation: Literal["stored", "displayed"] = "stored") -> np.ndarray:
    """Decode to (H, W, 3) uint8 RGB as the head of this file defines. Raises BadImage."""
    with _opened(data, name) as image:
        try:
            image.load()
            if orientation == "displayed":
                image = ImageOps.exif_transpose(image)
            return _to_rgb(image, name)
        except (OSError, ValueError, SyntaxError, EOFError, IndexError, ZeroDivisionError) as error:
            found = f"{image.format or 'image'} that does not decode: {describe(error)}"
            raise BadImage(Failure("image_undecodable", f"{name}: {found}")) from error


def _opened(data: bytes, name: str) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise BadImage(Failure("image_too_many_pixels", f"{name}: {describe(error)}")) from error
    except Exception as error:  # Pillow's parsers meet damaged headers with many kinds of exceptions
        start = data[:16].hex() or "nothing: the file is empty"
        raise BadImage(
            Failure("image_undecodable", f"{name}: not an image; allowed: {', '.join(FORMATS)}; it starts with {start}")
        ) from error


def _to_rgb(image: Image.Image, name: str) -> np.ndarray:
    if image.mode in UNKNOWN_RANGE:
        allowed = "8 or 16 bits a sample"
        raise BadImage(
            Failure("image_unsupported", f"{name}: found samples of mode {image.mode!r}; allowed: {allowed}")
        )
    if image.mode in SIXTEEN_BIT:
        gray = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
        return np.repeat(gray[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        pixels = image.convert("RGBA")
        white = Image.new("RGBA", pixels.size, (255, 255, 255, 255))
        return np.asarray(Image.alpha_composite(white, pixels).convert("RGB"))
    return np.asarray(image.convert("RGB"))


# The limit is the job's, checked on the header before anything is decoded.
Image.MAX_IMAGE_PIXELS = None
# Damaged metadata is no reason to refuse a picture, nor to fill a log. Once for all threads: catch_warnings is not safe
# among several.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
