"""How long a report takes and how large it is: a run of many images with real JPEGs on disk, its masks made up.

    python -m benchmarks.report [--images 10000] [--objects 5] [--pixels 640x480] [--json FILE]

Reviewing and reporting are processes of their own, so that each has its own peak of memory; Python's start is included.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from pipeline.clicks import ObjectClicks
from pipeline.config import parse_job
from pipeline.failure import Failure
from pipeline.parts import Row, commit_part, error_row, mask_row
from pipeline.plan import find_or_make_plan, read_shard

CATEGORIES = [f"category {number:02d}" for number in range(30)]
FAILED = ("image_missing", "click_outside", "empty_mask", "worker_crash")  # of each 1 object in 200
PHOTOS = 200  # different ones


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--objects", type=int, default=5, help="an image")
    parser.add_argument("--pixels", default="640x480")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    width, height = (int(side) for side in arguments.pixels.split("x"))
    with tempfile.TemporaryDirectory(prefix="m2n2-report-") as name:
        root = Path(name)
        output = make_run(root, arguments.images, arguments.objects, width, height)
        rows = [
            measure("m2n2 review", "review", output, "--to", str(root / "review"), "--budget", "500"),
            measure("m2n2 report", "report", output, "--to", str(root / "report")),
        ]
        megabytes = (root / "report" / "index.html").stat().st_size / 1e6
    print(f"\n{arguments.images} images of {width}x{height}, {arguments.images * arguments.objects} objects")
    for row in rows:
        print(f"{row['step']:12} {row['seconds']:7.1f} s {row['cpu_s']:7.1f} s of CPU {row['peak_gb']:6.2f} GB")
    print(f"index.html   {megabytes:7.2f} MB")
    if arguments.json:
        arguments.json.write_text(json.dumps({"steps": rows, "megabytes": megabytes}, indent=1))


def make_run(root: Path, images: int, objects: int, width: int, height: int) -> str:
    """A complete run below `root`; returns its output's address."""
    chance = np.random.default_rng(0)
    (root / "photos").mkdir()
    files = [jpeg(chance, width, height) for _ in range(PHOTOS)]
    rows = []
    for image in range(images):
        (root / "photos" / f"{image:06d}.jpg").write_bytes(files[image % PHOTOS])
        for name in range(objects):
            x, y = chance.integers(8, width - 8), chance.integers(8, height - 8)
            category = CATEGORIES[int(chance.exponential(6)) % len(CATEGORIES)]
            clicks = 1 + min(4, int(chance.exponential(0.6)))
            rows += [{"image": f"{image:06d}.jpg", "object": str(name), "x": float(x + 3 * each), "y": float(y)}
                     | {"category": category} for each in range(clicks)]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), root / "clicks.parquet")
    job = parse_job(
        {
            "images": str(root / "photos"),
            "clicks": str(root / "clicks.parquet"),
            "output": str(root / "labels"),
            "backbone": {"name": "colour"},
            "shard_images": 128,
        },
        "benchmark",
    )
    plan = find_or_make_plan(job)
    for shard in plan.shards:
        members = read_shard(job.output_store, plan, shard.index)
        made = [row(chance, each, width, height) for image in members for each in image.objects]
        commit_part(job.output_store, plan, shard.index, members, made)
    return job.output


def jpeg(chance: np.random.Generator, width: int, height: int) -> bytes:
    """A photo with as much detail as most: smooth colours, and noise."""
    coarse = Image.fromarray(chance.integers(0, 256, (9, 12, 3), np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    noise = chance.normal(0, 12, (height, width, 1))
    sink = io.BytesIO()
    Image.fromarray(np.clip(np.asarray(coarse) + noise, 0, 255).astype(np.uint8)).save(sink, "JPEG", quality=85)
    return sink.getvalue()


def row(chance: np.random.Generator, clicks: ObjectClicks, width: int, height: int) -> Row:
    """An ellipse around the first click with a score, or now and then a failure."""
    drawn = chance.integers(0, 200)
    if drawn < len(FAILED):
        return error_row(clicks, Failure(FAILED[drawn], "made up"))
    x, y = clicks.clicks[0]["x"], clicks.clicks[0]["y"]
    half_width, half_height = chance.integers(6, width // 5), chance.integers(6, height // 5)
    rows_HW, columns_HW = np.ogrid[:height, :width]
    mask = ((columns_HW - x) / half_width) ** 2 + ((rows_HW - y) / half_height) ** 2 <= 1
    return mask_row(clicks, mask, float(chance.beta(6, 2)), seconds=0.5)


def measure(step: str, *command: str) -> dict[str, float | str]:
    """Run a command of m2n2; its seconds by the clock and of CPU, and its peak of memory."""
    code = (
        "import json, resource, sys; from jobs.cli import main; code = main(sys.argv[1:]);"
        "used = resource.getrusage(resource.RUSAGE_SELF); sys.stderr.write(json.dumps(used.ru_maxrss)); sys.exit(code)"
    )
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run([sys.executable, "-c", code, *command], check=True, stderr=subprocess.PIPE, text=True)
    seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    peak_gb = int(done.stderr.splitlines()[-1]) / 1e6
    return {"step": step, "seconds": seconds, "cpu_s": cpu_s, "peak_gb": peak_gb}


if __name__ == "__main__":
    main()
