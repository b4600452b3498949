"""How tests/data/version_0_1_0.tar.xz was made: real runs and nights of version 0.1.0, as it left them in storage.

    cd CHECKOUT_OF_0_1_0 && PYTHONPATH=$PWD python .../tests/pipeline/make_version_0_1_0.py .../version_0_1_0.tar.xz

It imports that checkout's code, not what stands around it now, so it is never run by a test. In the archive:

    inputs/      photos and clicks, to be put below s3://version-0-1-0/, where plans and ledgers say that they are
    complete/    a run that is complete, with a second attempt of what failed in the first
    half_done/   a run whose driver was killed (SIGKILL) when some parts were there
    library/     a night that is finished, one abandoned, one finished, and one whose driver was killed half-way
    expected/    the COCO files that 0.1.0 itself exports: of `complete`, of `half_done` once it has resumed it, and of
                 `library` once it has finished the open night
"""

from __future__ import annotations

import io
import multiprocessing
import os
import platform
import signal
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

from jobs.cluster import connected
from pipeline.config import parse_job
from pipeline.library.config import parse_nightly
from pipeline.library.export import export_library
from pipeline.library.nights import run_nights
from pipeline.run import run
from pipeline.store import Storage, Store
from tests.pipeline.make_data import click_rows, encode, parquet, picture
from tests.s3_server import S3Server, use_credentials

BUCKET = "version-0-1-0"
EXPORT = "export/coco/instances.json"
LATE = "photos/0005.png"


class Killed(BaseException):
    """Stands for a kill while planning."""


def main(target: Path) -> None:
    """Make everything anew and write the archive."""
    use_credentials()
    with tempfile.TemporaryDirectory() as directory:
        server = S3Server(Path(directory))
        server.start()
        try:
            server.bucket(BUCKET)
            store = Store(f"s3://{BUCKET}", Storage(endpoint_url=server.endpoint_url))
            make_runs(server, store)
            make_library(store)
            pack(store, target)
        finally:
            server.stop()


def make_runs(server: S3Server, store: Store) -> None:
    for number in range(6):
        store.put(f"inputs/photos/{number:04d}.png", encode(picture()))
    for entry in store.listing("inputs/photos"):
        store.put(entry.key.removeprefix("inputs/"), store.read(entry.key))
    rows = [row for number in range(6) for row in click_rows(f"{number:04d}.png")]
    rows += [{**click_rows("0003.png")[0], "object": "outside", "x": 96.0}]
    put_clicks(store, "clicks.parquet", rows)

    photo = store.read(LATE)
    server.filesystem().rm_file(f"{BUCKET}/{LATE}")
    complete = run_document(store, "complete") | {"shard_images": 3}
    label(complete)
    store.put(LATE, photo)
    label(complete, retry="retryable")
    store.put("expected/complete.json", store.read(f"complete/{EXPORT}"))

    half_done = run_document(store, "half_done")
    killed(label, half_done)
    parts = [entry.key for entry in store.listing("half_done/parts")]
    assert 0 < len(parts) < 6, parts
    copy(store, "half_done", "resumed")
    label(half_done | {"output": store.url("resumed")})
    store.put("expected/half_done.json", store.read(f"resumed/{EXPORT}"))


def make_library(store: Store) -> None:
    document = library_document(store, "library")
    put_clicks(store, "clicks/dt=01/a.parquet", [row for number in range(3) for row in click_rows(f"{number:04d}.png")])
    night(document, "2026-01-01")
    put_clicks(store, "clicks/dt=02/a.parquet", click_rows("0003.png") + click_rows("missing.png"))
    with patch("pipeline.library.nights.write_plan", side_effect=Killed), suppress(Killed):
        night(document, "2026-01-02")
    changed = {**click_rows("0000.png")[0], "x": 34.0}  # one more click on an old object
    put_clicks(store, "clicks/dt=03/a.parquet", [changed])
    night(document, "2026-01-03")
    last = [row for name in ("0001.png", "0004.png", "0005.png") for row in click_rows(name)]
    put_clicks(store, "clicks/dt=04/a.parquet", [row | {"object": f"last-{row['object']}"} for row in last])
    killed(night, document, "2026-01-04")
    copy(store, "library", "finished")
    time.sleep(3)  # the copied lease expires
    finished = library_document(store, "finished")
    night(finished, "2026-01-05")
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "library.json"
        export_library(parse_nightly(finished, "nightly").store, Store(""), str(path))
        store.put("expected/library.json", path.read_bytes())


def run_document(store: Store, name: str) -> dict[str, Any]:
    return common(store) | {
        "clicks": store.url("clicks.parquet"),
        "output": store.url(name),
        "shard_images": 1,
        "limits": {"max_failed_share": 1.0},
    }


def library_document(store: Store, name: str) -> dict[str, Any]:
    return common(store) | {
        "clicks": store.url("clicks/dt=*/"),
        "library": store.url(name),
        "shard_images": 1,
        "lease_expires_s": 1,
        "limits": {"max_failed_share": 1.0},
    }


def common(store: Store) -> dict[str, Any]:
    return {
        "images": store.url("photos/"),
        "backbone": {"name": "colour", "grid": 16},
        "workers": {"count": 1, "gpus": 0, "cpus": 1},
        "storage": {"endpoint_url": store.storage.endpoint_url},
    }


def label(document: dict[str, Any], kill: bool = False, **options: Any) -> None:
    job = parse_job(document, "job")
    with named_host(), connected(job, None):
        result = run(job, on_progress=die_half_way if kill else lambda snapshot: None, **options)
    assert result.outcome == "complete", result


def night(document: dict[str, Any], date: str, kill: bool = False) -> None:
    on_progress = die_half_way if kill else lambda snapshot: None
    with named_host():
        run_nights(
            parse_nightly(document, "nightly"), date, lambda job: connected(job, None), threading.Event(), on_progress
        )


def die_half_way(snapshot: Any) -> None:
    if 0 < snapshot.shards_left < snapshot.shards_total:
        os.kill(os.getpid(), signal.SIGKILL)


def killed(target: Callable[..., None], *arguments: Any) -> None:
    process = multiprocessing.get_context("spawn").Process(target=target, args=(*arguments, True))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL, process.exitcode


def named_host() -> Any:
    return patch.object(platform, "node", lambda: "host-of-0-1-0")


def put_clicks(store: Store, key: str, rows: list[dict[str, Any]]) -> None:
    for place in (key, f"inputs/{key}"):
        store.put(place, parquet(rows))


def copy(store: Store, source: str, target: str) -> None:
    for entry in store.listing(source):
        store.put(f"{target}/{entry.key.removeprefix(source + '/')}", store.read(entry.key))


def pack(store: Store, target: Path) -> None:
    with tarfile.open(target, "w:xz", format=tarfile.PAX_FORMAT) as archive:
        for folder in ("inputs", "complete", "half_done", "library", "expected"):
            for entry in store.listing(folder):
                data = store.read(entry.key)
                member = tarfile.TarInfo(entry.key)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
