"""A run whose masks are hard for importers, with photos: every kind of mask that some tool read wrongly."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.clicks import ObjectClicks
from pipeline.config import parse_job
from pipeline.failure import Failure
from pipeline.parts import Row, Size, commit_part, error_row, mask_row
from pipeline.plan import find_or_make_plan, read_shard
from pipeline.storage.store import Store
from tests.pipeline.make_data import encode, parquet

WIDTH, HEIGHT = 47, 31
Key = tuple[str, str]  # image, object
NO_MASK = {("failed.png", "a"), ("failed.png", "b"), ("unreadable.png", "a")}
LOW_SCORE = ("empty.png", "doubtful")
CATEGORIES = ["cat", "köter", "two words"]


def hard_masks() -> dict[Key, np.ndarray]:
    """(H, W) bool of every object that has a mask."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    radius = np.hypot(rows - 15, columns - 20)
    none = np.zeros((HEIGHT, WIDTH), bool)
    masks = {
        ("holes.png", "ring"): (radius < 14) & (radius > 5),
        ("holes.png", "island in a hole"): ((radius < 14) & (radius > 9)) | (radius < 4),
        ("holes.png", "many holes"): (rows % 4 != 1) | (columns % 3 != 1),
        ("parts.jpg", "two parts"): (rows < 9) & (columns < 12) | (rows > 20) & (columns > 30),
        ("parts.jpg", "corner to corner"): (rows < 10) == (columns < 10),
        ("borders.jpg", "frame"): (rows == 0) | (columns == 0) | (rows == HEIGHT - 1) | (columns == WIDTH - 1),
        ("borders.jpg", "everything"): ~none,
        ("sub/one.png", "pixel"): (rows == 7) & (columns == 9),
        ("sub/one.png", "last pixel"): (rows == HEIGHT - 1) & (columns == WIDTH - 1),
        ("sub/one.png", "line"): (rows == 12) & (columns > 3) & (columns < 30),
        ("sub/über/ё лама.png", "42"): (rows + columns) % 7 < 4,
        ("sub/über/ё лама.png", "Ω"): np.random.default_rng(0).random((HEIGHT, WIDTH)) < 0.6,
        ("overlap.png", "below"): (rows > 3) & (rows < 26) & (columns > 3) & (columns < 33),
        ("overlap.png", "above"): (rows > 8) & (rows < 17) & (columns > 20) & (columns < 44),
        ("overlap.png", "left half of above"): (rows > 8) & (rows < 17) & (columns > 20) & (columns < 33),
        ("overlap.png", "right half of above"): (rows > 8) & (rows < 17) & (columns > 32) & (columns < 44),
        LOW_SCORE: (rows > 5) & (rows < 9) & (columns > 5) & (columns < 9),
    }
    return {key: np.asarray(mask) for key, mask in masks.items()}


def category_of(key: Key) -> str:
    return CATEGORIES[sum(map(ord, key[1])) % len(CATEGORIES)]


def make_hard_run(directory: Path) -> tuple[Store, dict[Key, np.ndarray]]:
    """A finished run below `directory`, photos in `directory/photos`; its output, and its true masks."""
    store, masks = Store(str(directory)), hard_masks()
    keys = [*masks, *sorted(NO_MASK)]
    for image in sorted({image for image, _ in keys}):
        pixels = np.random.default_rng(len(image)).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
        store.put(f"photos/{image}", encode(pixels, "JPEG" if image.endswith("jpg") else "PNG"))
    rows = [
        {"image": image, "object": name, "x": 1.0, "y": 1.0, "category": category_of((image, name))}
        for image, name in keys
    ]
    store.put("clicks.parquet", parquet(rows))
    document = {"images": store.url("photos/"), "clicks": store.url("clicks.parquet"), "output": store.url("labels")}
    job = parse_job({**document, "backbone": {"name": "colour"}, "shard_images": 3}, "job")
    plan = find_or_make_plan(job)
    for shard in plan.shards:
        images = read_shard(job.output_store, plan, shard.index)
        made = [_row(clicks, masks) for image in images for clicks in image.objects]
        commit_part(job.output_store, plan, shard.index, images, made)
    return job.output_store, masks


def _row(clicks: ObjectClicks, masks: dict[Key, np.ndarray]) -> Row:
    key = (clicks.image, clicks.object)
    if key in masks:
        return mask_row(clicks, masks[key], score=0.05 if key == LOW_SCORE else 0.75, seconds=0.0)
    size = None if clicks.image == "unreadable.png" else Size(WIDTH, HEIGHT)
    return error_row(clicks, Failure("image_undecodable", "torn"), size)
