"""A million masks to three formats in one pass: seconds and memory, against each format alone.

python -m benchmarks.exports --objects 1000000 [--formats coco,coco-results,coco-polygon]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pipeline.attempts import all_attempts
from pipeline.clicks import ObjectClicks
from pipeline.export.labels import labels_of_run
from pipeline.export.one_pass import FORMATS, export_labels
from pipeline.frozen_parts import freeze_parts
from pipeline.parts import Row, commit_part, mask_row
from pipeline.plan import read_shard, write_plan
from pipeline.shards.shard_file import ImageClicks
from pipeline.storage.store import Store

WIDTH, HEIGHT = 320, 240
OBJECTS_AN_IMAGE = 5
IMAGES_A_SHARD = 1000
CATEGORIES = ("cat", "dog", "bird")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=1_000_000)
    parser.add_argument("--formats", default="coco,coco-results,coco-polygon")
    parser.add_argument("--export", metavar="OUTPUT", help=argparse.SUPPRESS)  # what the processes it starts are told
    options = parser.parse_args()
    if options.export:
        print(json.dumps(export(Path(options.export), options.formats.split(","))))
        return
    with tempfile.TemporaryDirectory(prefix="m2n2-benchmark-") as directory:
        output = Path(directory) / "labels"
        began = time.perf_counter()
        make_run(Store(str(output)), options.objects)
        print(f"{options.objects} masks of {WIDTH}x{HEIGHT} made in {time.perf_counter() - began:.0f} s", flush=True)
        compare(output, options.formats.split(","))


def compare(output: Path, formats: list[str]) -> None:
    """Print a line a format, and what all of them together take."""
    print("| formats | s | peak GB |\n|---|---|---|")
    seconds = {}
    for names in [[name] for name in formats] + [formats]:
        command = [sys.executable, "-m", "benchmarks.exports", "--export", str(output), "--formats", ",".join(names)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        figures = json.loads(done.stdout)
        seconds[",".join(names)] = figures["seconds"]
        print(f"| {', '.join(names)} | {figures['seconds']:.1f} | {figures['peak_gb']:.2f} |", flush=True)
    together = seconds.pop(",".join(formats))
    for what, alone in (("the slowest", max(seconds.values())), ("the quickest", min(seconds.values()))):
        print(f"together they take {together / alone:.2f} times what {what} takes alone")
    print(f"one after another they take {sum(seconds.values()) / together:.2f} times what they take together")


def export(output: Path, formats: list[str]) -> dict[str, float]:
    """Export in this process; what it took."""
    store = Store(str(output))
    names = [name for name in FORMATS if name in formats]
    with tempfile.TemporaryDirectory(prefix="m2n2-benchmark-", dir=output.parent) as directory:
        began = time.perf_counter()
        export_labels(labels_of_run(freeze_parts(store, all_attempts(store))), names, Store(directory))
        seconds = time.perf_counter() - began
    return {"seconds": seconds, "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6}


def make_run(store: Store, objects: int) -> None:
    """A plan and all of its parts, their masks taken in turn from a few."""
    masks = list(_masks())
    identity = {"images": "photos/", "backbone": {"name": "synthetic"}, "weights": None, "settings": {}}
    plan = write_plan(store, "", identity, ["clicks.parquet"], _images(objects), IMAGES_A_SHARD)
    for shard in plan.shards:
        images = read_shard(store, plan, shard.index)
        rows = [_row(clicks, masks) for image in images for clicks in image.objects]
        commit_part(store, plan, shard.index, images, rows)


def _images(objects: int) -> Iterator[ImageClicks]:
    for image in range(-(-objects // OBJECTS_AN_IMAGE)):
        name = f"2026/photo-{image:08d}.jpg"
        wanted = range(min(OBJECTS_AN_IMAGE, objects - image * OBJECTS_AN_IMAGE))
        clicks = ({"x": 1.0, "y": 1.0, "label": True, "file": 0, "row": 0},)
        yield ImageClicks(
            name, tuple(ObjectClicks(name, str(each), CATEGORIES[each % 3], clicks, None) for each in wanted)
        )


def _masks() -> Iterator[Row]:
    """Rows of blobs with uneven borders, of 300 to 5,000 pixels."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    chance = np.random.default_rng(0)
    for number in range(50):
        x, y, radius = chance.uniform(60, 260), chance.uniform(60, 180), chance.uniform(10, 40)
        angle = np.arctan2(rows - y, columns - x)
        wave = 1 + 0.1 * np.sin(chance.integers(3, 12) * angle)
        mask = np.hypot(rows - y, columns - x) < radius * wave
        yield mask_row(ObjectClicks("", str(number), "", (), None), mask, score=0.5, seconds=0.0)


def _row(clicks: ObjectClicks, masks: list[Row]) -> Row:
    of_mask = masks[(int(clicks.image[-12:-4]) * OBJECTS_AN_IMAGE + int(clicks.object)) % len(masks)]
    return of_mask | {"image": clicks.image, "object": clicks.object, "category": clicks.category}


if __name__ == "__main__":
    main()
