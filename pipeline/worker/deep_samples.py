"""Samples of 16 bits made samples of 8, by the bits that are in use.

Cameras and scanners store 10, 12 or 14 bits in 16. Their upper 8 bits alone are nearly black, so samples are shifted by
the number of bits of the image's largest sample, at least 8: values up to 1023 lose 2 bits, up to 4095 lose 4. An image
that uses all 16 keeps its upper 8. So one exposure may be brighter in a file of 12 bits than in one of 16; within an
image nothing changes its order.

Gray, RGB and RGBA are treated so; gray with transparency and CMYK of 16 bits keep their upper 8 bits, the lower ones
being out of Pillow's reach.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

DEEP_GRAY = ("I;16", "I;16B", "I;16L", "I;16N")
OTHER_BYTE = {"16B": "16L", "16L": "16B", "16N": "16B" if np.little_endian else "16L"}
PHOTOMETRIC, WHITE_IS_ZERO = 262, 0  # a tag of TIFF and its value


def eight_bits(image: Image.Image, data: bytes) -> Image.Image:
    """The image of a file's bytes, loaded, with 8 bits a sample; one that has 8 already stays as it is.

    Raises what Pillow raises for damaged files.
    """
    if image.mode in DEEP_GRAY:
        samples = np.asarray(image).astype(np.uint16)
        bits = _bits_in_use(samples)
        if getattr(image, "tag_v2", {}).get(PHOTOMETRIC) == WHITE_IS_ZERO:  # which Pillow minds for 8 bits only
            samples = (1 << bits) - 1 - samples
        return Image.fromarray((samples >> (bits - 8)).astype(np.uint8))
    other_byte = _other_byte(image)
    image.load()
    if other_byte is None:
        return image
    upper = np.asarray(image).astype(np.uint16)
    if upper[..., :3].max(initial=0) >= 128:  # all 16 bits are in use
        return image
    with Image.open(io.BytesIO(data), formats=[str(image.format)]) as lower_bytes:
        lower_bytes.tile = [tile._replace(args=_with_raw_mode(tile.args, other_byte)) for tile in lower_bytes.tile]
        samples = upper << 8 | np.asarray(lower_bytes)
    colours, alpha = samples[..., :3], samples[..., 3:]
    scaled = [part >> (_bits_in_use(part) - 8) for part in (colours, alpha)]
    return Image.fromarray(np.concatenate(scaled, axis=2).astype(np.uint8))


def _bits_in_use(samples: np.ndarray) -> int:
    return max(8, int(samples.max(initial=0)).bit_length())


def _other_byte(image: Image.Image) -> str | None:
    """The raw mode that reads each sample's lower byte; None where samples have 8 bits, or no such mode exists."""
    raw_modes = {_raw_mode(tile.args) for tile in getattr(image, "tile", [])}
    if image.mode not in ("RGB", "RGBA") or len(raw_modes) != 1:
        return None
    channels, _, order = raw_modes.pop().partition(";")
    return f"{channels};{OTHER_BYTE[order]}" if order in OTHER_BYTE else None


def _raw_mode(arguments: Any) -> str:
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def _with_raw_mode(arguments: Any, raw_mode: str) -> Any:
    return (raw_mode, *arguments[1:]) if isinstance(arguments, tuple) else raw_mode
