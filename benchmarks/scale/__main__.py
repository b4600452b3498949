"""The pipeline without a model: what the distribution itself costs, in seconds and in the driver's memory.

    python -m benchmarks.scale                           # 1,000,000 objects in 200,000 images: half an hour on 2 cores
    python -m benchmarks.scale --objects 20000           # the same, small
    python -m benchmarks.scale --plan-only --objects 10000000
    python -m benchmarks.scale --bar export --objects 16000000         # a library's export, see reading.py
    python -m benchmarks.scale --bar night --objects 20000000          # nights with little new, on a disk
    python -m benchmarks.scale --bar settle --objects 1000000          # a library's night that labelled all anew
    python -m benchmarks.scale --bar status --parts 100000 --s3  # `m2n2 status`, or --without-manifests
    python -m benchmarks.scale --bar driver --shards 1000000        # what a driver holds of every shard

How the figures are defined stands in the file of each.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.scale.driver_memory import driver_bar
from benchmarks.scale.labelling import label_process, measure
from benchmarks.scale.reading import export_bar, night_bar, settle_bar, settle_process, status_bar
from tests.s3_server import S3Server, use_credentials


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=1_000_000)
    parser.add_argument("--shard-images", type=int, default=128, help="what `auto` takes on a GPU")
    parser.add_argument("--s3", action="store_true", help="plan and parts on a real S3 server instead of a disk")
    parser.add_argument("--plan-only", action="store_true")
    parser.add_argument(
        "--bar", choices=["export", "settle", "status", "night", "driver"], help="only this, on a synthetic output"
    )
    parser.add_argument("--shards", type=int, default=1_000_000, help="of the plan whose driver is looked at")
    parser.add_argument("--parts", type=int, default=100_000, help="of the output whose status is read")
    parser.add_argument("--without-manifests", action="store_true", help="the status of an output that has none")
    parser.add_argument("--report", type=Path, help="write the figures there, as JSON")
    parser.add_argument("--process", choices=["label", "settle"], help=argparse.SUPPRESS)
    parser.add_argument("--job", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.process:
        processes = {"label": label_process, "settle": settle_process}
        processes[options.process](options.job)
        return
    with tempfile.TemporaryDirectory(prefix="m2n2-scale-") as directory, server(Path(directory), options.s3) as store:
        storage, files_url = store
        if options.bar == "export":
            figures = export_bar(Path(directory), options.objects, storage)
        elif options.bar == "night":
            figures = night_bar(Path(directory), options.objects)
        elif options.bar == "settle":
            figures = settle_bar(Path(directory), options.objects)
        elif options.bar == "driver":
            figures = driver_bar(Path(directory) / "labels", options.shards)
        elif options.bar == "status":
            figures = status_bar(options.parts, not options.without_manifests, storage, files_url)
        else:
            figures = measure(Path(directory), options, storage)
    text = json.dumps(figures, indent=1)
    print(text)
    if options.report:
        options.report.write_text(text + "\n")


@contextmanager
def server(directory: Path, wanted: bool) -> Iterator[tuple[dict[str, Any], str | None]]:
    """The job's keys for where plan and parts go, and of a server where it takes the output's objects as files."""
    if not wanted:
        yield {"output": str(directory / "labels")}, None
        return
    use_credentials()
    s3 = S3Server(directory / "s3")
    s3.start()
    try:
        storage = {"output": f"{s3.bucket('scale')}/labels/", "storage": {"endpoint_url": s3.endpoint_url}}
        yield storage, f"{s3.files_url}/scale/labels"
    finally:
        s3.stop()


if __name__ == "__main__":
    main()
