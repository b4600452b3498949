"""What a driver holds of every shard: the bar `benchmarks.scale --bar driver`.

Plan, listing, dispatcher and the frozen list of parts are the real ones, over a real folder of parts, half of which are
there. No worker labels: tasks are handed out and reported done at once, `IN_FLIGHT` of them under way. Counting and
exporting read parts, a few at a time, and are left out. Ray is loaded and not started.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

import psutil

from benchmarks.synthetic_output import IDENTITY
from pipeline.parts import part_key
from pipeline.plan import seal_plan
from pipeline.shards.shard_table import Shard, ShardTable
from pipeline.storage.store import Store

IN_FLIGHT = 2000


def driver_bar(output: Path, shards: int) -> dict[str, Any]:
    """The driver's memory, start to end, in a process of its own that has loaded what a driver loads."""
    _apart("write", output, shards)
    figures: dict[str, Any] = json.loads(_apart("drive", output, shards))
    return figures


def _apart(work: str, output: Path, shards: int) -> str:
    command = [sys.executable, "-m", "benchmarks.scale.driver_memory", work, str(output), str(shards)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def _write(output: Path, shards: int) -> None:
    digests = (hashlib.sha256(str(number).encode()).hexdigest() for number in range(shards))
    table = ShardTable.of(Shard(number, 128, 640, digest) for number, digest in enumerate(digests))
    seal_plan(Store(str(output)), "", IDENTITY, [], ["object"], table)
    (output / "parts").mkdir()
    for number in range(0, shards, 2):
        (output / part_key("", number)).touch()


def _drive(output: Path, shards: int) -> None:
    import pipeline.driver.run  # noqa: F401  # what a driver has loaded: Ray, DuckDB, Arrow
    from pipeline.driver.dispatch import Dispatcher
    from pipeline.frozen_parts import freeze_parts
    from pipeline.manifests.during_run import ManifestsDuringRun
    from pipeline.parts import finished_shards
    from pipeline.plan import load_plan

    store, began, before = Store(str(output)), time.process_time(), _resident_bytes()
    plan = load_plan(store)
    assert plan is not None
    planned = _resident_bytes()
    done = finished_shards(store, plan)
    manifests = ManifestsDuringRun(store, plan, done)
    dispatcher = Dispatcher((each.index, each.images) for each in plan.shards if each.index not in done)
    begun = _resident_bytes()
    under_way = deque(dispatcher.next([], 0.0) for _ in range(min(IN_FLIGHT, dispatcher.shards_left)))
    while dispatcher.shards_left:
        task = under_way.popleft()
        assert task is not None
        dispatcher.done(task, None)
        under_way.append(dispatcher.next([], 0.0))
    parts = freeze_parts(store, [plan])
    assert (len(parts.missing), parts.digest != "", manifests is not None) == (shards // 2, True, True)
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    figures = {
        "shards": shards,
        "before_mb": round(before / 1e6),
        "plan_loaded_mb": round(planned / 1e6),
        "begun_mb": round(begun / 1e6),
        "ended_mb": round(_resident_bytes() / 1e6),
        "peak_mb": round(peak / 1e6),
        "cpu_seconds": round(time.process_time() - began, 1),
        "load": round(os.getloadavg()[0], 1),
    }
    print(json.dumps(figures))


def _resident_bytes() -> int:
    return int(psutil.Process().memory_info().rss)


if __name__ == "__main__":
    {"write": _write, "drive": _drive}[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))
