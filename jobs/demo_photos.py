"""What `m2n2 demo` labels and draws: photos that scikit-image ships, and clicks written here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

# (photo, object, category, x, y, on the object)
CLICKS = [
    ("astronaut.png", "person", "person", 225, 110, True),
    ("astronaut.png", "person", "person", 110, 375, True),
    ("astronaut.png", "person", "person", 410, 178, False),
    ("astronaut.png", "shuttle", "rocket", 395, 200, True),
    ("astronaut.png", "shuttle", "rocket", 300, 100, False),
    ("astronaut.png", "shuttle", "rocket", 480, 100, False),
    ("chelsea.png", "cat", "cat", 180, 170, True),
    ("chelsea.png", "cat", "cat", 60, 60, True),
    ("chelsea.png", "cat", "cat", 430, 150, False),
    ("coffee.png", "cup", "cup", 300, 120, True),
    ("coffee.png", "cup", "cup", 280, 215, True),
    ("coffee.png", "cup", "cup", 290, 335, False),
    ("rocket.jpg", "rocket", "rocket", 320, 260, True),
    ("motorcycle_left.png", "motorcycle", "motorcycle", 396, 207, True),
    ("motorcycle_left.png", "motorcycle", "motorcycle", 190, 330, True),
    ("motorcycle_left.png", "motorcycle", "motorcycle", 620, 380, True),
]
COLOURS = [(255, 80, 60), (60, 160, 255), (90, 220, 90), (250, 200, 40)]
SHEET_HEIGHT = 360


def photos() -> Path:
    """Where scikit-image keeps the photos that its wheel brings."""
    import skimage.data

    return Path(skimage.data.__file__).parent


def write_clicks(path: Path) -> None:
    """The clicks as a Parquet file."""
    names = ["image", "object", "category", "x", "y", "label"]
    pq.write_table(pa.table(dict(zip(names, map(list, zip(*CLICKS, strict=True)), strict=True))), path)


def draw_masks(name: str, masks: Sequence[Mapping[str, Any]]) -> Image.Image:
    """A photo with its masks (COCO's compressed RLE) laid over it and the clicks marked."""
    from pycocotools import mask as coco_mask

    pixels = np.asarray(Image.open(photos() / name).convert("RGB")).astype(np.float32)
    for number, mask in enumerate(masks):
        inside = coco_mask.decode(mask).astype(bool)
        pixels[inside] = 0.45 * pixels[inside] + 0.55 * np.array(COLOURS[number % len(COLOURS)])
    picture = Image.fromarray(pixels.astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    for photo, _, _, x, y, on_object in CLICKS:
        if photo == name:
            draw.ellipse((x - 6, y - 6, x + 6, y + 6), fill="lime" if on_object else "red", outline="white", width=2)
    return picture


def side_by_side(pictures: Sequence[Image.Image], target: Path) -> None:
    """All pictures in one file, at one height."""
    panels = [each.resize((each.width * SHEET_HEIGHT // each.height, SHEET_HEIGHT)) for each in pictures]
    sheet = Image.new("RGB", (sum(panel.width for panel in panels), SHEET_HEIGHT))
    left = 0
    for panel in panels:
        sheet.paste(panel, (left, 0))
        left += panel.width
    sheet.save(target, quality=88)
