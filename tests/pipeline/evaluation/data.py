"""A data set of a few drawn pictures with ground truth."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from PIL import Image
from pycocotools import mask as coco_mask

from m2n2.backbones.colour import Colour


class CountedColour(Colour):
    """`colour` with keys, which are the cells' colours; it counts how often an image is read."""

    reads: ClassVar[list[str]] = []

    def attention(self, image: np.ndarray) -> torch.Tensor:
        self.reads.append("attention")
        return super().attention(image)

    def keys(self, image: np.ndarray, layers: int) -> torch.Tensor:
        self.reads.append(f"keys {layers}")
        cells = np.asarray(Image.fromarray(image).resize((12, 12), Image.Resampling.BOX), np.float32)
        return torch.from_numpy(cells / 255).expand(layers, 12, 12, 3)


def picture(seed: int, size: tuple[int, int] = (40, 56)) -> tuple[np.ndarray, list[np.ndarray]]:
    """A bright disc and a dark square on grey, and their masks."""
    random = np.random.default_rng(seed)
    v, u = np.indices(size)
    disc = (u - random.integers(12, 20)) ** 2 + (v - random.integers(12, 28)) ** 2 <= 64
    square = (abs(u - random.integers(38, 46)) < 7) & (abs(v - random.integers(12, 28)) < 6)
    pixels = np.full((*size, 3), 128)
    pixels[disc], pixels[square] = (240, 200, 60), (20, 30, 90)
    return np.clip(pixels + random.integers(-6, 7, pixels.shape), 0, 255).astype(np.uint8), [disc, square]


def png(values: np.ndarray) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(values).save(sink, "PNG")
    return sink.getvalue()


def write_folders(root: Path, count: int = 3, images: str = "images", masks: str = "masks") -> None:
    """Pictures with two objects each, in two folders."""
    (root / images).mkdir(parents=True)
    (root / masks).mkdir()
    for seed in range(count):
        pixels, truths = picture(seed)
        (root / images / f"{seed}.png").write_bytes(png(pixels))
        for number, truth in enumerate(truths, 1):
            (root / masks / f"{seed}#{number}.png").write_bytes(png(truth.astype(np.uint8) * 255))


def write_coco(root: Path, count: int = 3) -> None:
    """The same pictures as a COCO document, the disc in run lengths and the square as a polygon."""
    (root / "images").mkdir(parents=True)
    photos, annotations = [], []
    for seed in range(count):
        pixels, (disc, square) = picture(seed)
        (root / "images" / f"{seed}.png").write_bytes(png(pixels))
        photos.append({"id": seed, "file_name": f"{seed}.png", "height": 40, "width": 56})
        run_lengths = coco_mask.encode(np.asfortranarray(disc))
        run_lengths["counts"] = run_lengths["counts"].decode()
        v, u = np.nonzero(square)
        left, right, top, bottom = float(u.min()), float(u.max() + 1), float(v.min()), float(v.max() + 1)
        polygon = [left, top, right, top, right, bottom, left, bottom]
        for number, segmentation in enumerate((run_lengths, [polygon])):
            annotations.append({"id": 10 * seed + number, "image_id": seed, "segmentation": segmentation})
        annotations.append({"id": 10 * seed + 9, "image_id": seed, "iscrowd": 1, "segmentation": run_lengths})
    (root / "instances.json").write_text(json.dumps({"images": photos, "annotations": annotations}))
