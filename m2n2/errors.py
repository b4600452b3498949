"""What the algorithm refuses, so that a caller can tell bad input from a defect."""


class InvalidImage(ValueError):
    """The image is not (H, W, 3) uint8, is empty, or has more pixels than `Settings.max_pixels`."""


class InvalidPrompt(ValueError):
    """A prompt without points, with a point outside the image, or with points and labels of different length."""


class InvalidAttention(ValueError):
    """Attention of the wrong shape, not finite, negative, or with a row or column that has no mass."""


class InvalidWeights(ValueError):
    """Weights that are missing, incomplete, corrupted, or in a format that can run code (pickles)."""


class InvalidDevice(ValueError):
    """A device that PyTorch does not know or that this machine does not have."""


class OperatorReleased(RuntimeError):
    """A new point after `Scene.release_operator`: `Scene.advance` it before."""
