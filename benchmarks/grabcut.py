"""Mean IoU after one click an object, by the whole pipeline: `m2n2 label` on photos with ground truth.

    python -m benchmarks.grabcut --data DIR [--grid 64] [--weights dinov2-small]

DIR holds `images/NAME.*` and `masks/NAME.png` (a pixel above 0 is foreground), such as the GrabCut data set (Rother et
al. 2004). The click is the protocol's first: the pixel furthest from the border of the ground truth.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from pycocotools import mask as coco_mask
from scipy.ndimage import distance_transform_edt
from scipy.stats import spearmanr

from jobs.commands.label import label_job
from pipeline.config import parse_job


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", default="dinov2-small")
    parser.add_argument("--grid", type=int, default=64)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        clicks, output = Path(directory) / "clicks.parquet", Path(directory) / "labels"
        write_first_clicks(options.data, clicks)
        document = {
            "images": str(options.data / "images"),
            "clicks": str(clicks),
            "output": str(output),
            "backbone": {"name": "dinov2", "weights": options.weights, "grid": options.grid},
            "workers": {"gpus": 0},
        }
        started = time.monotonic()
        label_job(parse_job(document, "benchmark"))
        seconds = time.monotonic() - started
        report(options.data, json.loads((output / "export/coco/instances.json").read_text()), seconds)


def ground_truth(data: Path, image_name: str) -> np.ndarray:
    """(H, W) bool."""
    mask = np.asarray(Image.open(data / "masks" / f"{Path(image_name).stem}.png"))
    return np.asarray((mask if mask.ndim == 2 else mask[..., 0]) > 0)


def first_click(truth: np.ndarray) -> tuple[int, int]:
    """(x, y) of the pixel furthest from the border, the first of them in row order."""
    distance = distance_transform_edt(np.pad(truth, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(np.argmax(distance), truth.shape)
    return int(x), int(y)


def write_first_clicks(data: Path, target: Path) -> None:
    names = sorted(path.name for path in (data / "images").iterdir())
    points = [first_click(ground_truth(data, name)) for name in names]
    x, y = zip(*points, strict=True)
    pq.write_table(pa.table({"image": names, "object": ["1"] * len(names), "x": x, "y": y}), target)


def report(data: Path, document: dict, seconds: float) -> None:
    names = {image["id"]: image["file_name"] for image in document["images"]}
    overlaps, scores = [], []
    for annotation in document["annotations"]:
        mask = coco_mask.decode(annotation["segmentation"]).astype(bool)
        truth = ground_truth(data, names[annotation["image_id"]])
        overlaps.append((mask & truth).sum() / (mask | truth).sum())
        scores.append(annotation["score"])
    print(f"objects                        {len(overlaps)}")
    print(f"mean IoU after one click       {np.mean(overlaps):.4f}")
    print(f"rank correlation score / IoU   {spearmanr(scores, overlaps).statistic:.2f}")
    print(f"seconds, workers' start included  {seconds:.0f}")


if __name__ == "__main__":
    main()
