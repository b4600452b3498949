"""What the algorithm refuses, so that a caller can tell bad input from a defect."""

from __future__ import annotations


class InvalidImage(ValueError):
    """The image is not (H, W, 3) uint8, is empty, or has more pixels than `Settings.max_pixels`."""


class InvalidPrompt(ValueError):
    """A prompt without points, with a point or a box outside the image, or what are no points, labels or boxes."""


class InvalidSettings(ValueError):
    """A constant that no algorithm could work with; the message begins with its name."""


class InvalidAttention(ValueError):
    """Attention of the wrong shape, not finite, negative, or with a row or column that has no mass."""


class InvalidWeights(ValueError):
    """Weights that are missing, incomplete, corrupted, or in a format that can run code (pickles)."""


class InvalidDevice(ValueError):
    """A device that PyTorch does not know or that this machine does not have."""


class OperatorReleased(RuntimeError):
    """A new point after `Scene.release_operator`: `Scene.advance` it before."""


def check_image(image: object) -> None:
    """Refuse what is no image: nothing here guesses which axis the colours are, or what range floats have.

    Raises:
        InvalidImage: not (H, W, 3) uint8, or empty.
    """
    import numpy as np  # not above, since settings and prompts load without it

    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        what = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise InvalidImage(f"an image must be a (H, W, 3) array of uint8, not {what}")
    if image.size == 0:
        raise InvalidImage(f"the image is empty: {image.shape[1]} x {image.shape[0]} pixels")
