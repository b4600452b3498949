"""A data set of any size that takes no space: every image key leads to the same tiny picture, and no model is run.

Imported by the benchmark's workers, as the backbone's module, which registers the `synthetic://` file system there.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.spec import AbstractFileSystem
from PIL import Image

if TYPE_CHECKING:
    import torch

SIZE = 32  # pixels a side
GRID = 16
OBJECTS_AN_IMAGE = 5
ROWS_A_FILE = 1_000_000


def picture() -> np.ndarray:
    """The one image: a square on a ground, (SIZE, SIZE, 3) uint8."""
    pixels = np.full((SIZE, SIZE, 3), 40, np.uint8)
    pixels[8:24, 8:24] = (200, 120, 60)
    return pixels


def click(number: int) -> tuple[float, float]:
    """Where object `number` of an image is clicked."""
    return 4.0 + 5 * number, 16.0


class SyntheticImages(AbstractFileSystem):
    """Answers every key with the same PNG file."""

    protocol = "synthetic"

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        sink = io.BytesIO()
        Image.fromarray(picture()).save(sink, "PNG")
        self._png = sink.getvalue()

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **options: Any) -> bytes:
        """The file's bytes, or a span of them."""
        return self._png[start:end]


class LocalAttention:
    """A backbone that looks at nothing: every cell attends to those near it."""

    def __init__(self, weights: object, device: str, dtype: str, grid: int | None) -> None:
        import torch  # not where only a plan is made: 0.2 GB

        self.device = torch.device(device)
        side = grid or GRID
        places = torch.from_numpy(np.indices((side, side)).reshape(2, -1).T.astype(np.float32))  # (N, 2)
        attention = torch.softmax(-(torch.cdist(places, places) ** 2) / 8, dim=1)
        self._attention = attention.view(side, side, side, side)

    def attention(self, image: np.ndarray) -> torch.Tensor:
        """See m2n2.backbones.protocol.Backbone."""
        return self._attention.clone()


def write_clicks(directory: Path, objects: int) -> int:
    """Parquet files with a click an object, OBJECTS_AN_IMAGE objects an image, rows shuffled; returns the images."""
    directory.mkdir(parents=True)
    images = -(-objects // OBJECTS_AN_IMAGE)
    order = np.random.default_rng(0).permutation(objects)
    places = np.array([click(number) for number in range(OBJECTS_AN_IMAGE)])
    for first in range(0, objects, ROWS_A_FILE):
        image, number = np.divmod(order[first : first + ROWS_A_FILE], OBJECTS_AN_IMAGE)
        columns = {
            "image": pa.array([f"2026/photo-{each:08d}.png" for each in image]),
            "object": pa.array(number),
            "x": pa.array(places[number, 0]),
            "y": pa.array(places[number, 1]),
        }
        pq.write_table(pa.table(columns), directory / f"clicks-{first // ROWS_A_FILE:03d}.parquet")
    return images


fsspec.register_implementation("synthetic", SyntheticImages, clobber=True)
