"""The images, clicks and attention that the head is measured on: synthetic and seeded, or a photo and a real DINOv2."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from m2n2 import Prompt, Scene, Settings

ASPECT = 513 / 371


def make_image(path: Path | None, megapixels: float) -> np.ndarray:
    """A photo, or a few smooth coloured regions with noise, seed 0."""
    height = round((megapixels * 1e6 / ASPECT) ** 0.5)
    width = round(height * ASPECT)
    if path is not None:
        return np.asarray(Image.open(path).convert("RGB").resize((width, height), Image.Resampling.BICUBIC))
    fields = smooth_fields(np.random.default_rng(0), 3, (height, width))
    regions = np.clip(128 + 90 * fields, 20, 235) // 40 * 40
    noise = np.random.default_rng(1).integers(-6, 7, (height, width, 3))
    pixels: np.ndarray = np.clip(regions + noise, 0, 255).astype(np.uint8)
    return pixels


def make_attention(weights: Path | None, image: np.ndarray, grid: int) -> torch.Tensor:
    """(grid, grid, grid, grid) float32: DINOv2's, or a softmax over smooth random features and position, seed 0.

    The synthetic one mixes about as fast as DINOv2's on photos: 13 to 17 rounds of Sinkhorn, maps of 7 to 30 steps.
    """
    if weights is not None:
        from m2n2.backbones import load_backbone

        backbone = load_backbone("dinov2", weights=str(weights), device="cpu", dtype="float32", grid=grid)
        return backbone.attention(image)
    features = smooth_fields(np.random.default_rng(0), 8, (grid, grid)).reshape(grid * grid, 8)
    positions = np.indices((grid, grid)).reshape(2, grid * grid).T / grid
    keys = torch.from_numpy(np.concatenate([0.6 * features, 3 * positions], axis=1).astype(np.float32))
    attention = torch.empty(grid * grid, grid * grid)
    for first in range(0, len(keys), 512):
        rows = slice(first, first + 512)
        torch.softmax(-0.5 * torch.cdist(keys[rows], keys) ** 2, dim=1, out=attention[rows])
    attention.mul_(0.95).add_(0.05 / len(keys))
    return attention.reshape(grid, grid, grid, grid)


def smooth_fields(rng: np.random.Generator, count: int, size: tuple[int, int]) -> np.ndarray:
    """Smooth random fields of unit variance: (H, W, count)."""
    coarse = torch.from_numpy(rng.normal(size=(1, count, 7, 7)).astype(np.float32))
    fields = torch.nn.functional.interpolate(coarse, size=size, mode="bicubic", align_corners=True)[0]
    scaled: np.ndarray = (fields / fields.std(dim=(1, 2), keepdim=True)).permute(1, 2, 0).numpy()
    return scaled


def spread_points(count: int, size: tuple[int, int]) -> list[tuple[int, int]]:
    rng = np.random.default_rng(count)
    return [(int(rng.integers(size[1])), int(rng.integers(size[0]))) for _ in range(count)]


def warm_up() -> None:
    """Every kernel once, on a small image that is larger than its working size."""
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    scene = Scene(image, make_attention(None, image, 8), Settings(working_pixels=1000))
    scene.segment([Prompt([(9, 9), (50, 40)], [True, False])])
