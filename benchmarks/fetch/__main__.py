"""How fast one worker's threads fetch images from a real S3 server: files, members of tars, rows of Parquet.

    python -m benchmarks.fetch
    python -m benchmarks.fetch --bytes 200000 --images 400

`tar 1` and `parquet 1` are the first image alone: its container's index is made, and of Parquet its row group is read.
Nothing is decoded. Seconds of CPU are this process's own: what its one core has left for decoding is the rest. The
server runs on the same machine, so both share it.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipeline.config import Limits
from pipeline.containers.source import image_source, read_together
from pipeline.storage.filesystem import Storage
from pipeline.storage.store import Store
from pipeline.worker.images import fetch_image
from pipeline.worker.prefetch import FETCH_THREADS
from tests.pipeline.containers.make_parquets import parquet_of
from tests.pipeline.containers.make_tars import tar_of
from tests.s3_server import S3Server, use_credentials

SIZES = (4_000, 200_000, 5_000_000)
LARGEST_SET_BYTES = 200_000_000
SHARD_IMAGES = 128
ROWS_A_GROUP = 100  # as `datasets` writes images


def main() -> None:
    """Write each set of images both ways and read it; print images and megabytes a second."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--bytes", type=int, nargs="*", default=SIZES, help="sizes of images")
    parser.add_argument("--images", type=int, default=1000, help="of each size, at most 200 MB in all")
    options = parser.parse_args()
    use_credentials()
    with tempfile.TemporaryDirectory(prefix="m2n2-fetch-") as name:
        server = S3Server(Path(name))
        server.start()
        try:
            storage = Storage(endpoint_url=server.endpoint_url)
            root = Store(f"{server.bucket('fetch')}/", storage)
            print(f"{'bytes':>9} {'from':9} {'images':>6} {'images/s':>9} {'MB/s':>6} {'CPU s/1000 images':>18}")
            for size in options.bytes:
                _measure(root, size, min(options.images, max(8, LARGEST_SET_BYTES // size)))
        finally:
            server.stop()


def _measure(root: Store, size: int, count: int) -> None:
    files = {f"{number:05d}.jpg": os.urandom(size) for number in range(count)}
    for name, data in files.items():
        root.put(f"files-{size}/{name}", data)
    root.put(f"contained-{size}/one.tar", tar_of(files))
    root.put(f"contained-{size}/one.parquet", parquet_of(list(files.items()), ROWS_A_GROUP))
    _report("files", root.url(f"files-{size}/"), list(files), size, root.storage)
    for kind in ("tar", "parquet"):
        images, keys = root.url(f"contained-{size}/*.{kind}"), [f"one.{kind}/{name}" for name in files]
        _report(f"{kind} 1", images, keys[:1], size, root.storage)
        _report(kind, images, keys, size, root.storage)


def _report(kind: str, images: str, keys: Sequence[str], size: int, storage: Storage) -> None:
    source, limits = image_source(images, storage), Limits()
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    for first in range(0, len(keys), SHARD_IMAGES):
        shard = keys[first : first + SHARD_IMAGES]
        together = read_together(source, shard)
        with ThreadPoolExecutor(FETCH_THREADS) as threads:
            for data in threads.map(lambda key, each=together: fetch_image(each, key, limits), shard):
                assert len(data) == size
    seconds, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
    rate = len(keys) / seconds
    line = f"{size:9} {kind:9} {len(keys):6} {rate:9.1f} {rate * size / 1e6:6.1f} {1000 * cpu_s / len(keys):18.2f}"
    print(line, flush=True)


if __name__ == "__main__":
    main()
