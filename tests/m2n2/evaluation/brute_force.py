"""The protocol once more, pixel by pixel."""

import numpy as np


def deepest(region_HW: np.ndarray) -> tuple[int, int, int]:
    """(squared distance, x, y) of the first pixel in row order that is furthest from the outside."""
    height, width = region_HW.shape
    outside = [
        (y, x)
        for y in range(-1, height + 1)
        for x in range(-1, width + 1)
        if not (0 <= y < height and 0 <= x < width and region_HW[y, x])
    ]
    best = (0, 0, 0)
    for y in range(height):
        for x in range(width):
            distance = min((y - v) ** 2 + (x - u) ** 2 for v, u in outside)
            if distance > best[0]:
                best = (distance, x, y)
    return best


def blob(seed: int, shape: tuple[int, int] = (14, 19)) -> np.ndarray:
    """A ragged region."""
    random = np.random.default_rng(seed)
    coarse = random.random((shape[0] // 3 + 1, shape[1] // 3 + 1)) < 0.5
    fine = np.kron(coarse, np.ones((3, 3), bool))[: shape[0], : shape[1]]
    return np.asarray(fine ^ (random.random(shape) < 0.03))
