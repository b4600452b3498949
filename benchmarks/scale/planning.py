"""Planning in a process of its own, which has loaded what a driver loads, and not what a benchmark does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil


def plan_apart(job_file: Path) -> dict[str, Any]:
    """Plan the job; clicks, shards, seconds, and the peak memory of the process."""
    command = [sys.executable, "-m", "benchmarks.scale.planning", str(job_file)]
    figures: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return figures


def _plan(job_file: Path) -> None:
    import benchmarks.synthetic  # noqa: F401  # `synthetic://`
    import pipeline.driver.run  # noqa: F401  # what a driver has loaded: Ray, DuckDB, Arrow
    from pipeline.config import load_job
    from pipeline.plan import find_or_make_plan

    with _peak_memory() as peak:
        began, cpu_began = time.monotonic(), time.process_time()
        plan = find_or_make_plan(load_job(job_file))
        seconds, cpu_s = time.monotonic() - began, time.process_time() - cpu_began
    figures = {"clicks": plan.objects, "shards": len(plan.shards), "seconds": round(seconds, 1)}
    figures |= {"cpu_seconds": round(cpu_s, 1), "peak_mb": round(peak() / 1e6), "load": round(os.getloadavg()[0], 1)}
    print(json.dumps(figures))


@contextmanager
def _peak_memory() -> Iterator[Callable[[], int]]:
    """Largest resident size of this process while the block runs."""
    sizes, ended = [0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.05):
            sizes[0] = max(sizes[0], psutil.Process().memory_info().rss)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    yield lambda: sizes[0]
    ended.set()
    watcher.join()


if __name__ == "__main__":
    _plan(Path(sys.argv[1]))
