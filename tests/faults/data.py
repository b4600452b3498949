"""The images and clicks of a fault test: small pictures of a square, and poisonous ones marked by their colour."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from pipeline.storage.store import Store

WIDTH, HEIGHT = 48, 32
CLICKS = {"square": (16.0, 16.0), "ground": (40.0, 8.0)}
# The colour of a picture's top left pixel says what it does to a worker; see backbones.py.
POISONS = {"segfault": (255, 0, 0), "hang": (0, 255, 0), "hold_gil": (0, 0, 255), "eat_memory": (255, 255, 0)}


@dataclass(frozen=True)
class Photos:
    """A set of images below a store's root; `poisonous` says which picture (by number) does what."""

    store: Store
    count: int
    poisonous: Mapping[int, str] = field(default_factory=dict)

    @property
    def images(self) -> str:
        return self.store.url("photos/")

    @property
    def clicks(self) -> str:
        return self.store.url("clicks.parquet")

    @property
    def objects(self) -> list[tuple[str, str]]:
        """Every object that was clicked, as (image, object): what a run must account for."""
        return [(self.name(number), each) for number in range(self.count) for each in CLICKS]

    @property
    def poisonous_names(self) -> dict[str, str]:
        return {self.name(number): poison for number, poison in self.poisonous.items()}

    @staticmethod
    def name(number: int) -> str:
        return f"{number:03d}.png"

    def write(self) -> Photos:
        for number in range(self.count):
            self.store.put(f"photos/{self.name(number)}", self.picture(number))
        self.write_clicks()
        return self

    def picture(self, number: int) -> bytes:
        return _png(number, self.poisonous.get(number))

    def write_clicks(self) -> None:
        rows = [(image, each, *CLICKS[each]) for image, each in self.objects]
        columns = dict(zip(("image", "object", "x", "y"), map(list, zip(*rows, strict=True)), strict=True))
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table(columns), sink)
        self.store.put("clicks.parquet", sink.getvalue().to_pybytes())


def _png(number: int, poison: str | None) -> bytes:
    pixels = np.full((HEIGHT, WIDTH, 3), 60, np.uint8)
    pixels[8:24, 8:24] = (200, 40 + 5 * (number % 40), 120)
    if poison is not None:
        pixels[0, 0] = POISONS[poison]
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "PNG")
    return sink.getvalue()
