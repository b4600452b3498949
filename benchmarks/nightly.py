"""What a night costs besides labelling: finding what is new, keeping the library, exporting it.

    python -m benchmarks.nightly                               # 1,000,000 objects in 200,000 images, on a disk
    python -m benchmarks.nightly --objects 100000 --s3         # on a real S3 server that is started for it

Every step is a process of its own. Seconds are from its start to its end, Python's start included; CPU seconds are what
it used on all cores, on a busy machine the better measure; memory is the peak of its resident bytes. Nights with
nothing new and the export are the real command line. In nights with something to label a stand-in makes the masks
without Ray, so that what is measured is everything else: listing the images, reading the clicks, comparing with the
index, plan, parts, index and diff.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from pipeline.library.config import load_nightly
from pipeline.library.nights import run_nights
from pipeline.storage.filesystem import Storage
from pipeline.storage.store import Store
from tests.jobs.site import FakeLabeller
from tests.s3_server import S3Server, use_credentials

OBJECTS_AN_IMAGE = 5
IMAGES_A_FOLDER = 1000
UPLOADS_AT_ONCE = 32


@dataclass(frozen=True)
class Step:
    """One measured process."""

    name: str
    seconds: float
    cpu_seconds: float
    peak_mb: int
    labelled: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=1_000_000)
    parser.add_argument("--s3", action="store_true", help="on a real S3 server instead of a disk")
    parser.add_argument("--report", type=Path, help="write the figures there, as JSON")
    parser.add_argument("--night", nargs=2, metavar=("CONFIG", "DATE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.night:
        night(*options.night)
        return
    with tempfile.TemporaryDirectory(prefix="m2n2-nightly-") as directory, place(Path(directory), options.s3) as store:
        steps = measure(Path(directory), store, options.objects)
    for step in steps:
        spent = f"{step.seconds:8.1f} s {step.cpu_seconds:8.1f} s CPU {step.peak_mb:6d} MB"
        print(f"{step.name:45} {spent} {step.labelled:9d} labelled")
    if options.report:
        options.report.write_text(json.dumps([asdict(step) for step in steps], indent=1) + "\n")


@contextmanager
def place(directory: Path, s3: bool) -> Iterator[Store]:
    """Where photos, clicks and the library are."""
    if not s3:
        yield Store(str(directory / "data"))
        return
    use_credentials()
    server = S3Server(directory / "s3")
    server.start()
    try:
        yield Store(server.bucket("nightly"), Storage(endpoint_url=server.endpoint_url))
    finally:
        server.stop()


def measure(directory: Path, store: Store, objects: int) -> list[Step]:
    images = objects // OBJECTS_AN_IMAGE
    put_photos(store, range(images))
    put_clicks(store, "01", range(images), directory)
    config = directory / "nightly.yaml"
    document = {
        "library": store.url("library"),
        "images": store.url("photos/"),
        "clicks": store.url("clicks/dt=*/"),
        "backbone": {"name": "colour"},
        "workers": {"count": 16},
        "storage": {"endpoint_url": store.storage.endpoint_url},
    }
    config.write_text(yaml.safe_dump(document))
    stand_in = ["-m", "benchmarks.nightly", "--night", str(config)]
    command = ["-m", "jobs.cli", "nightly", str(config), "--date"]
    steps = [run(f"first night, {objects} new objects", store, [*stand_in, "2026-01-01"])]
    steps.append(run("night with nothing new", store, [*command, "2026-01-02"]))
    hundredth = range(images, images + max(1, images // 100))
    put_photos(store, hundredth)
    put_clicks(store, "02", hundredth, directory)
    steps.append(run("night with 1% new", store, [*stand_in, "2026-01-03"]))
    assert steps[-1].labelled == len(hundredth) * OBJECTS_AN_IMAGE, "more than the new 1% was touched"
    for number in range(len(hundredth)):
        store.put(f"photos/{photo(number)}", b"edited")
    steps.append(run("night with 1% of the images changed", store, [*stand_in, "2026-01-04"]))
    steps.append(run("night with nothing new, after 3 nights", store, [*command, "2026-01-05"]))
    export = ["-m", "jobs.cli", "export", store.url("library"), "--to", str(directory / "instances.json")]
    if store.storage.endpoint_url:
        export += ["--endpoint-url", store.storage.endpoint_url]
    steps.append(run("export of the library", store, export))
    return steps


def run(name: str, store: Store, arguments: list[str]) -> Step:
    """Run a process to its end; `labelled` is what the night says of it."""
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    started = os.times().elapsed
    process = subprocess.Popen([sys.executable, *arguments], env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"{name}: exit code {process.returncode}"
    seconds = os.times().elapsed - started
    last = json.loads(store.read("library/last.json"))
    touched = last["diff"]["new"] + last["diff"]["changed"] if "export" not in arguments else 0
    cpu_seconds = usage.ru_utime + usage.ru_stime
    step = Step(name, round(seconds, 1), round(cpu_seconds, 1), usage.ru_maxrss * 1024 // 1_000_000, touched)
    sys.stderr.write(f"{step}\n")
    return step


def night(config: str, date: str) -> None:
    """A night whose labelling is done by a stand-in, in this process."""
    labeller = FakeLabeller(pytest.MonkeyPatch())
    run_nights(load_nightly(config), date, labeller.connect, threading.Event(), lambda snapshot: None)


def put_photos(store: Store, numbers: range) -> None:
    with ThreadPoolExecutor(UPLOADS_AT_ONCE) as threads:
        for _ in threads.map(lambda number: store.put(f"photos/{photo(number)}", b"x"), numbers):
            pass


def put_clicks(store: Store, day: str, numbers: range, directory: Path) -> None:
    images = np.repeat([photo(number) for number in numbers], OBJECTS_AN_IMAGE)
    names = np.tile([f"object-{number}" for number in range(OBJECTS_AN_IMAGE)], len(numbers))
    x = np.random.default_rng(0).uniform(1, 99, len(images))
    path = directory / "clicks.parquet"
    pq.write_table(pa.table({"image": images, "object": names, "x": x, "y": x}), path)
    store.put_file(f"clicks/dt={day}/a.parquet", path)


def photo(number: int) -> str:
    return f"{number // IMAGES_A_FOLDER:04d}/{number:08d}.jpg"


if __name__ == "__main__":
    main()
