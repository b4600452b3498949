"""Images: fetching within limits, decoding to RGB in one defined way.

What becomes of every kind of file (tests/pipeline/worker/test_images.py shows each):

- JPEG, PNG, WebP, TIFF, BMP, GIF are read, AVIF and HEIC where Pillow can (the extra `heif`); of an animated or
  multi-page file, the first frame. A TIFF whose first page is a thumbnail, as in camera raw files, is refused;
- grayscale and palette become RGB; CMYK is converted; 16-bit samples become 8 by the bits in use, as
  pipeline/worker/deep_samples.py says; transparency is laid over white; floating-point and 32-bit integer samples are
  refused, their range being unknown;
- EXIF orientation is ignored, so clicks are in pixels of the stored image; with `orientation: displayed` the image is
  turned first, and clicks, masks and sizes are in pixels of the turned image. HEIC is always turned as it says itself;
- a JPEG that lacks its end marker and no pixel is read. Any other file that ends too soon is refused.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Literal

import numpy as np
from PIL import Image, features
from PIL.TiffImagePlugin import TiffImageFile

from pipeline.config import Limits
from pipeline.containers.source import ImageSource
from pipeline.describe import describe
from pipeline.failure import BadImage, Failure
from pipeline.storage.refusals import UnusableStorage
from pipeline.storage.retry import KeyUnavailable, StoreUnavailable
from pipeline.worker.deep_samples import eight_bits

try:
    import pillow_heif
except ImportError:  # the extra `heif` is not installed
    HEIC: tuple[str, ...] = ()
else:
    pillow_heif.register_heif_opener()
    HEIC = ("HEIF",)

AVIF = ("AVIF",) if features.check("avif") else ()
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", *AVIF, *HEIC)
UNKNOWN_RANGE = ("F", "I")
ORIENTATION, NEW_SUBFILE_TYPE, DNG_VERSION = 0x0112, 254, 50706  # tags of EXIF and TIFF
REDUCED_SIZE = 1
TURNED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
UNTURNED = TURNED | {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
JPEG_START, JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
RESTARTS = [bytes([0xFF, 0xD0 + number]) for number in range(8)]  # markers within the pixels, in this order
DAMAGE = (OSError, ValueError, SyntaxError, EOFError, IndexError, ZeroDivisionError, RuntimeError)  # how decoders fail
HEIC_BRANDS = (b"ftypheic", b"ftypheix", b"ftyphevc", b"ftypheim", b"ftypheis", b"ftypmif1", b"ftypmsf1")
AVIF_BRANDS = (b"ftypavif", b"ftypavis")


def unread_formats(readable: Sequence[str]) -> list[tuple[int, bytes, str]]:
    """Image formats that are not read, by how their files begin: offset, bytes, what to say."""
    heic = () if "HEIF" in readable else HEIC_BRANDS
    avif = () if "AVIF" in readable else AVIF_BRANDS
    return [
        *((4, brand, "HEIC; to read it: pip install 'm2n2[heif]'") for brand in heic),
        *((4, brand, "AVIF; to read it: pip install 'pillow>=11.3'") for brand in avif),
        (0, b"\xff\x0a", "JPEG XL"),
        (0, b"\0\0\0\x0cJXL ", "JPEG XL"),
        (0, b"\0\0\0\x0cjP  ", "JPEG 2000"),
        (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
        (0, b"8BPS", "Photoshop"),
        (0, b"v/1\x01", "OpenEXR"),
        (0, b"#?RADIANCE", "Radiance HDR"),
        (0, b"SIMPLE  =", "FITS"),
        (128, b"DICM", "DICOM"),
        *((0, b"P%d" % number, "PNM") for number in range(1, 8)),
    ]


UNREAD = unread_formats(FORMATS)


def fetch_image(source: ImageSource, key: str, limits: Limits, first_bytes: int | None = None) -> bytes:
    """The file's bytes, or its first ones.

    Raises BadImage (missing, forbidden, unavailable, unreadable, too large), StoreUnavailable.
    """
    try:
        # One byte more than allowed tells a file that is too large without fetching all of it.
        data = source.read_one_of_many(key, first_bytes or limits.max_image_bytes + 1)
    except KeyUnavailable as error:
        raise BadImage(Failure("image_unavailable", describe(error))) from error
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise BadImage(Failure("image_missing", f"{source.url(key)}: there is no such object")) from None
    except PermissionError as error:
        raise BadImage(Failure("image_forbidden", f"{source.url(key)}: {describe(error)}")) from error
    except (BadImage, UnusableStorage):  # said by a container; of this worker's environment, not of the image
        raise
    except Exception as error:  # a key that this storage cannot have: too long, not encodable, ...
        if isinstance(error, StoreUnavailable):
            raise
        raise BadImage(Failure("image_unreadable", f"{source.url(key)}: {describe(error)}")) from error
    if len(data) > limits.max_image_bytes:
        found = f"more than {limits.max_image_bytes} bytes; allowed: limits.max_image_bytes"
        raise BadImage(Failure("image_too_many_bytes", f"{source.url(key)}: found {found}"))
    return data


def decoded_bytes(data: bytes, name: str, limits: Limits) -> int:
    """How much memory the decoded image takes, from the file's header alone. Raises BadImage."""
    with _opened(data, name) as image:
        width, height = image.size
    if width * height > limits.max_image_pixels:
        found = f"{width}x{height} pixels; allowed: {limits.max_image_pixels} (limits.max_image_pixels)"
        raise BadImage(Failure("image_too_many_pixels", f"{name}: found {found}"))
    return 3 * width * height


def exif_orientation(data: bytes, name: str) -> int:
    """How a viewer turns the stored image, 1 (not at all) to 8, from the file's header alone. Raises BadImage."""
    with _opened(data, name) as image:
        try:
            # Of the class: PNG's own reads all pixels to find what stands after them.
            orientation = Image.Image.getexif(image).get(ORIENTATION, 1)
        except DAMAGE:
            return 1  # as viewers do with damaged metadata
        return orientation if orientation in TURNED else 1


def decode_image(data: bytes, name: str, orientation: Literal["stored", "displayed"] = "stored") -> np.ndarray:
    """Decode to (H, W, 3) uint8 RGB as the head of this file defines. Raises BadImage."""
    try:
        return _decoded(data, name, orientation)
    except DAMAGE as error:
        if data.startswith(JPEG_START):
            pixels = _without_end_marker(data, name, orientation)
            if pixels is not None:
                return pixels
        found = f"image that does not decode: {describe(error)}"
        raise BadImage(Failure("image_undecodable", f"{name}: {found}")) from error


def _decoded(data: bytes, name: str, orientation: Literal["stored", "displayed"]) -> np.ndarray:
    with _opened(data, name) as image:
        if image.mode in UNKNOWN_RANGE:
            found = f"samples of mode {image.mode!r}; allowed: 8 or 16 bits a sample"
            raise BadImage(Failure("image_unsupported", f"{name}: found {found}"))
        if isinstance(image, TiffImageFile):  # which Pillow turns as it loads
            turned_already = image.getexif().get(ORIENTATION, 1)
            pixels = _to_rgb(eight_bits(image, data))
            return pixels if orientation == "displayed" else _turned(pixels, UNTURNED.get(turned_already))
        pixels = _to_rgb(eight_bits(image, data))
        to_turn = image.getexif().get(ORIENTATION, 1) if orientation == "displayed" else 1
        return _turned(pixels, TURNED.get(to_turn))


def _turned(pixels: np.ndarray, transposition: Image.Transpose | None) -> np.ndarray:
    return pixels if transposition is None else np.asarray(Image.fromarray(pixels).transpose(transposition))


def _without_end_marker(data: bytes, name: str, orientation: Literal["stored", "displayed"]) -> np.ndarray | None:
    """The pixels of a JPEG that lacks no more than its end marker; None where pixels are missing.

    The decoder fills up what is missing without a word. So the file is completed in two ways, each going on after any
    restart marker that may come next: what is the same in both does not come from what was added.
    """
    body = data.removesuffix(JPEG_END[:1])
    last = max(range(8), key=lambda number: body.rfind(RESTARTS[number]))
    next_restarts = RESTARTS[last + 1 :] + RESTARTS[: last + 1]
    try:
        one, other = (
            _decoded(body + filler + filler.join(next_restarts) + filler + JPEG_END, name, orientation)
            for filler in (b"\x00" * 256, b"\xaa" * 256)
        )
    except DAMAGE:
        return None
    return one if np.array_equal(one, other) else None


def _opened(data: bytes, name: str) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise BadImage(Failure("image_too_many_pixels", f"{name}: {describe(error)}")) from error
    except Exception as error:  # Pillow's parsers meet damaged headers with many kinds of exceptions
        allowed = f"allowed: {', '.join(FORMATS)}"
        for offset, sign, found in UNREAD:
            if data[offset:].startswith(sign):
                raise BadImage(Failure("image_unsupported", f"{name}: found {found}; {allowed}")) from error
        start = data[:16].hex() or "nothing: the file is empty"
        raise BadImage(
            Failure("image_undecodable", f"{name}: not an image; {allowed}; it starts with {start}")
        ) from error
    if isinstance(image, TiffImageFile) and _is_thumbnail(image):
        found = "a TIFF whose first page is a thumbnail, as in camera raw files; allowed: a developed photo"
        raise BadImage(Failure("image_unsupported", f"{name}: found {found}"))
    return image


def _is_thumbnail(image: TiffImageFile) -> bool:
    kind = image.tag_v2.get(NEW_SUBFILE_TYPE, 0)
    return DNG_VERSION in image.tag_v2 or (isinstance(kind, int) and bool(kind & REDUCED_SIZE))


def _to_rgb(image: Image.Image) -> np.ndarray:
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
