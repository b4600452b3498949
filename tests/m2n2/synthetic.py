"""Images and attention made from a seed."""

from __future__ import annotations

import numpy as np


def attention(rng: np.random.Generator, grid: tuple[int, int], sharpness: float = 1.0) -> np.ndarray:
    """(h, w, h, w) float32: near cells attend to each other, with noise; rows sum to 1."""
    height, width = grid
    rows, columns = (axis.ravel() for axis in np.mgrid[:height, :width])
    squared = (rows[:, None] - rows) ** 2 + (columns[:, None] - columns) ** 2
    matrix = np.exp(-squared / (0.1 * height * width + 1) + sharpness * rng.normal(size=squared.shape))
    matrix /= matrix.sum(axis=1, keepdims=True)
    return matrix.astype(np.float32).reshape(height, width, height, width)


def image(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8: a few flat regions with noise, so that colours repeat and edges exist."""
    height, width = size
    rows, columns = np.mgrid[:height, :width]
    region = (rows > height * rng.random()).astype(int) + 2 * (columns > width * rng.random())
    palette = rng.integers(0, 256, (4, 3))
    return np.clip(palette[region] + rng.integers(-9, 10, (height, width, 3)), 0, 255).astype(np.uint8)


def flat_map(rng: np.random.Generator, size: tuple[int, int], levels: int) -> np.ndarray:
    """(H, W) float32 in 0..1 with few levels, hence plateaus and ties."""
    return (rng.integers(0, levels, size) / max(1, levels - 1)).astype(np.float32)
