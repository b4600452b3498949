"""What the working size costs in IoU: clicks on photos with ground truth at 6, 8 and 10 pixels a cell and in full.

    python -m benchmarks.head.working_size --data DIR --to rows.jsonl [--grids 64 32]

DIR holds `grabcut/` (images/ and masks/) and `coco_multi/` (images/ and instances.json). Clicks are the published
protocol's, each object by itself, up to three. The network runs once a photo and grid. A line an object and size is
added to the file, and a run that was stopped goes on. The table gives mean IoU after each click and, against full size,
the mean difference of the three with its standard error over objects. Photos of a third of a megapixel on a grid of
32 x 32 have as many pixels a cell as those of 1.2 megapixels on one of 64 x 64.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from m2n2 import Scene, Settings
from m2n2.backbones import load_backbone
from m2n2.evaluation import ClickRule, click_objects
from pipeline.evaluation.methods import ReadyScene
from pipeline.evaluation.truths import TruthData, TruthImage, find_truths
from pipeline.storage.store import Store
from pipeline.worker.images import decode_image

SETS = ("grabcut", "coco_multi")
CLICKS = 3
PIXELS_A_CELL = (6, 8, 10)
FULL = 0  # in place of pixels a cell

Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--grids", type=int, nargs="+", default=[64, 32])
    parser.add_argument("--weights", default="dinov2-small")
    parser.add_argument("--limit", type=int, help="take the first photos of each set only")
    parser.add_argument("--table", action="store_true", help="only the table of what the file holds so far")
    options = parser.parse_args()
    if not options.table:
        gather(options)
    print_table([json.loads(line) for line in options.to.open()], options.grids)


def gather(options: argparse.Namespace) -> None:
    """Add the rows that are missing."""
    rows = [json.loads(line) for line in options.to.open()] if options.to.exists() else []
    known = {(row["grid"], row["photo"]) for row in rows}
    with options.to.open("a") as file:
        for grid in options.grids:
            backbone = load_backbone("dinov2", weights=options.weights, device="cpu", dtype="float32", grid=grid)
            for name in SETS:
                data = find_truths(Store(str(options.data / name)), limit=options.limit)
                for image in data.images:
                    if (grid, f"{name}/{image.key}") in known:
                        continue
                    pixels = decode_image(data.read(image.key), image.key)
                    attention = backbone.attention(pixels)
                    shared = {"grid": grid, "set": name, "photo": f"{name}/{image.key}"}
                    found = list(sessions_of(pixels, attention, grid, data, image))
                    file.writelines(json.dumps(shared | row) + "\n" for row in found)  # all sizes of a photo or none
                    file.flush()


def sessions_of(pixels_HW3: np.ndarray, attention: Any, grid: int, data: TruthData, image: TruthImage) -> Iterator[Row]:
    """A row an object and size."""
    size = pixels_HW3.shape[0], pixels_HW3.shape[1]
    for each in (*PIXELS_A_CELL, FULL):
        working_pixels = each**2 * grid**2 if each else Settings.reference().working_pixels
        scene = Scene(pixels_HW3, attention, replace(Settings(), working_pixels=working_pixels))
        for truth in image.objects:
            began = time.process_time()
            [session] = click_objects(ReadyScene(scene).masks, [data.mask(image, truth, size)], ClickRule(), CLICKS)
            ious = list(session.ious) + [session.ious[-1]] * (CLICKS - len(session.ious))  # the truth itself stays
            spent = {"pixels": size[0] * size[1], "cpu_s": time.process_time() - began}
            yield {"object": truth.name, "pixels_a_cell": each, "iou": ious} | spent


def print_table(rows: list[Row], grids: list[int]) -> None:
    """Means and differences to full size, a line a grid, set and size."""
    print("| grid | photos | objects | pixels a cell | IoU after 1, 2, 3 clicks | mean | against full size | CPU s |")
    print("|---|---|---:|---|---|---:|---:|---:|")
    for grid in grids:
        for sets in (*((name,) for name in SETS), SETS):
            ofs = [row for row in rows if row["grid"] == grid and row["set"] in sets]
            if not ofs:
                continue
            full = by_object(ofs, FULL)
            for each in (*PIXELS_A_CELL, FULL):
                ious = by_object(ofs, each)
                means = " ".join(f"{value:.3f}" for value in ious.mean(axis=0))
                difference = ious.mean(axis=1) - full.mean(axis=1)
                error = difference.std(ddof=1) / len(difference) ** 0.5
                against = f"{difference.mean():+.4f} ± {error:.4f}" if each else ""
                seconds = sum(row["cpu_s"] for row in ofs if row["pixels_a_cell"] == each)
                print(
                    f"| {grid} | {' and '.join(sets)} | {len(ious)} | {each or 'full size'} | {means} "
                    f"| {ious.mean():.4f} | {against} | {seconds:.0f} |"
                )


def by_object(rows: list[Row], pixels_a_cell: int) -> np.ndarray:
    """IoU after each click, (objects, clicks), in the order of objects."""
    chosen = [row for row in rows if row["pixels_a_cell"] == pixels_a_cell]
    return np.array([row["iou"] for row in sorted(chosen, key=lambda row: (row["photo"], row["object"]))])


if __name__ == "__main__":
    main()
