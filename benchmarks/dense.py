"""One dense image: how long a worker takes for it, how much memory, and whether its time limit would have held.

    python -m benchmarks.dense
    python -m benchmarks.dense --cases 3000x2000/300 --set settings.objects=exclusive

A worker, without Ray, labels three images of the same kind in one shard, since that many may be under way at once. Each
case has a process of its own. Memory is what the process takes at its peak beyond what it took with its model loaded.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.config import parse_job
from pipeline.plan import find_or_make_plan
from pipeline.shards.shard_table import Shard
from pipeline.storage.store import Store
from pipeline.tasks import Task
from pipeline.worker.labeler import Labeler
from tests.pipeline.make_data import parquet

IMAGES = 3
CASES = ("640x480/10", "1600x1200/300", "4000x3000/100")
CLEAR_PEAK = "5"  # see proc(5), clear_refs


def main() -> None:
    """Measure each case and print a line for it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cases", nargs="*", default=CASES, help="WIDTHxHEIGHT/OBJECTS")
    parser.add_argument("--threads", type=int, default=1, help="cores of the worker")
    parser.add_argument("--grid", type=int, default=32, help="of the attention")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings, such as objects=exclusive")
    parser.add_argument("--json", help="write the figures there")
    parser.add_argument("--here", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        print(json.dumps(_measure(options.here, options.threads, options.grid, options.set)))
        return
    figures = []
    for case in options.cases:
        command = [sys.executable, "-m", "benchmarks.dense", "--here", case, "--threads", str(options.threads)]
        command += ["--grid", str(options.grid)]
        environment = os.environ | {"OMP_NUM_THREADS": str(options.threads)}
        done = subprocess.run([*command, "--set", *options.set], env=environment, stdout=subprocess.PIPE, check=True)
        figures.append(json.loads(done.stdout.splitlines()[-1]))
        print(
            "{case:16} {cpu_s_an_image:7.1f} CPU s an image, longest {longest_s:6.1f} s of {allowed_s:6.0f} allowed, "
            "{megabytes:5.0f} MB beyond the model's {model_megabytes:.0f}".format(**figures[-1]),
            flush=True,
        )
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=2))


def _measure(case: str, threads: int, grid: int, settings: Sequence[str]) -> dict[str, float | str]:
    size, _, objects = case.partition("/")
    width, height = map(int, size.split("x"))
    with tempfile.TemporaryDirectory(prefix="m2n2-dense-") as name:
        worker, shard = _worker(Store(name), width, height, int(objects), threads, grid, settings)
        Path("/proc/self/clear_refs").write_text(CLEAR_PEAK)
        before, cpu_s = _resident_bytes("VmRSS"), time.process_time()
        longest_s, allowed_s = _label(worker, shard)
        cpu_s = time.process_time() - cpu_s
        peak = _resident_bytes("VmHWM")
    return {
        "case": case,
        "cpu_s_an_image": cpu_s / IMAGES,
        "longest_s": longest_s,
        "allowed_s": allowed_s,
        "megabytes": (peak - before) / 1e6,
        "model_megabytes": before / 1e6,
    }


def _worker(
    store: Store, width: int, height: int, objects: int, threads: int, grid: int, settings: Sequence[str]
) -> tuple[Labeler, Shard]:
    rng = np.random.default_rng(0)
    columns = int(np.ceil(np.sqrt(objects * width / height)))
    step = width / columns
    centres = [((at % columns + 0.5) * step, (at // columns + 0.5) * step) for at in range(objects)]
    rows = []
    for number in range(IMAGES):
        store.put(f"photos/{number}.jpg", _photo(rng, width, height, centres, step / 3))
        rows += [
            {"image": f"{number}.jpg", "object": str(each), "x": x, "y": min(y, height - 1.0)}
            for each, (x, y) in enumerate(centres)
        ]
    store.put("clicks.parquet", parquet(rows))
    document = {
        "images": store.url("photos/"),
        "clicks": store.url("clicks.parquet"),
        "output": store.url("labels/"),
        "backbone": {"name": "colour", "grid": grid},
        "workers": {"count": 1, "gpus": 0, "cpus": threads},
        "shard_images": IMAGES,
        "settings": dict(pair.split("=") for pair in settings),
    }
    job = parse_job(document, "dense")
    plan = find_or_make_plan(job)
    worker = Labeler(job, plan.reference)
    worker.load([])
    return worker, plan.shards[0]


def _photo(
    rng: np.random.Generator, width: int, height: int, centres: Sequence[tuple[float, float]], radius: float
) -> bytes:
    """Discs of all colours on noise."""
    pixels = rng.integers(90, 120, (height, width, 3), np.uint8)
    for x, y in centres:
        left, top = max(0, int(x - radius)), max(0, int(y - radius))
        window = pixels[top : int(y + radius) + 1, left : int(x + radius) + 1]
        rows, columns = np.mgrid[: window.shape[0], : window.shape[1]]
        window[(columns + left - x) ** 2 + (rows + top - y) ** 2 <= radius**2] = rng.integers(0, 255, 3, np.uint8)
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "JPEG", quality=90)
    return sink.getvalue()


def _label(worker: Labeler, shard: Shard) -> tuple[float, float]:
    """Seconds of the image that came nearest to its limit, as the driver would hear of it, and that limit."""
    import threading

    ended, longest = threading.Event(), (0.0, 1.0)

    def watch() -> None:
        nonlocal longest
        while not ended.wait(0.2):
            progress = worker.progress()
            allowed_s = 300.0 * progress.slowest_size
            longest = max(longest, (progress.slowest_s, allowed_s), key=lambda each: each[0] / each[1])

    watcher = threading.Thread(target=watch)
    watcher.start()
    report = worker.label(Task(0), shard)
    ended.set()
    watcher.join()
    assert not report.failed, report.failed
    return longest


def _resident_bytes(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith(field)))


if __name__ == "__main__":
    main()
