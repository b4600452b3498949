"""What reading a large output costs: the bars of `benchmarks.scale --bar`, each command in a process of its own.

Outputs are synthetic (benchmarks/synthetic_output.py); the commands are the real command line, Python's start included.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.scale.unsigned_puts import UnsignedPuts
from benchmarks.synthetic_night import RELABELLED, add_objects, write_night, write_relabelled
from benchmarks.synthetic_output import OBJECTS_AN_IMAGE, write_library, write_run
from pipeline.library.settle import settle
from pipeline.plan import load_plan
from pipeline.storage.filesystem import Storage
from pipeline.storage.store import Store

OBJECTS_A_PART = 640  # 128 images with five objects
OBJECTS_A_SMALL_PART = 10  # of what is only counted: the number of parts is what costs
FAILED_EVERY = 100


def export_bar(directory: Path, objects: int, storage: dict[str, Any]) -> dict[str, Any]:
    """`m2n2 export` of a library of one night."""
    library, options = _store(storage)
    _apart(write_library, library, objects, OBJECTS_A_PART, directory)
    target = directory / "instances.json"
    return {"objects": objects} | _measured(["export", library.root, "--to", str(target), *options])


def status_bar(parts: int, manifests: bool, storage: dict[str, Any], files_url: str | None) -> dict[str, Any]:
    """`m2n2 status` of a complete run, with manifests of all its shards or with none.

    Args:
        files_url: where the store takes its objects as files, see unsigned_puts.py.
    """
    run, options = _store(storage)
    put_part = UnsignedPuts(files_url) if files_url else None
    objects = parts * OBJECTS_A_SMALL_PART
    _apart(write_run, run, objects, OBJECTS_A_SMALL_PART, FAILED_EVERY, manifests, 0, put_part)
    return {"parts": parts, "manifests": manifests} | _measured(["status", run.root, *options])


def night_bar(directory: Path, objects: int) -> dict[str, Any]:
    """`m2n2 nightly` with nothing new, with 1% new objects that a stand-in labels, again before and after folding."""
    _apart(write_night, directory, objects, OBJECTS_A_PART)
    config = str(directory / "nightly.yaml")
    figures = {"objects": objects, "nothing new": _measured(["nightly", config, "--date", "2026-01-02"])}
    new = objects // 100 // OBJECTS_AN_IMAGE * OBJECTS_AN_IMAGE
    _apart(add_objects, directory, range(objects, objects + new))
    figures["1% new"] = _measured(["--night", config, "2026-01-03"], "benchmarks.nightly")
    diff = json.loads((directory / "library" / "last.json").read_text())["diff"]
    assert (diff["new"], diff["unchanged"]) == (new, objects), diff
    figures["after that, nothing new"] = _measured(["nightly", config, "--date", "2026-01-04"])
    figures["compact"] = _measured(["library", "compact", str(directory / "library")])
    return figures | {"compacted, nothing new": _measured(["nightly", config, "--date", "2026-01-05"])}


def settle_bar(directory: Path, objects: int) -> dict[str, Any]:
    """What is left of a night when it has labelled all objects of a library anew: index rows and diff."""
    _apart(write_relabelled, directory, objects, OBJECTS_A_PART)
    figures = _measured(["--process", "settle", "--job", str(directory)], "benchmarks.scale")
    diff = json.loads((directory / "library" / RELABELLED / "diff.json").read_text())
    assert (diff["changed"], diff["compared"]) == (objects, objects), diff
    return {"objects": objects} | figures


def settle_process(directory: Path) -> None:
    """Settle the night that `write_relabelled` left."""
    library = Store(str(directory / "library"))
    plan = load_plan(library, f"{RELABELLED}/")
    settle(library, RELABELLED, plan, directory / "settled.parquet")


def _apart(write: Callable[..., object], *arguments: object) -> None:
    """Write in a process of its own: what this one has in memory would count as the peak of what it starts."""
    process = multiprocessing.get_context("spawn").Process(target=write, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == 0, f"writing failed: {process.exitcode}"


def _store(storage: dict[str, Any]) -> tuple[Store, list[str]]:
    """Where the output goes, and the options of a command that reads it."""
    endpoint_url = storage.get("storage", {}).get("endpoint_url")
    options = ["--endpoint-url", endpoint_url] if endpoint_url else []
    return Store(storage["output"], Storage(endpoint_url=endpoint_url)), options


def _measured(arguments: list[str], module: str = "jobs.cli") -> dict[str, Any]:
    """Seconds by the clock and of CPU, and the peak of resident memory (never below this process's own 0.3 GB)."""
    started = os.times().elapsed
    process = subprocess.Popen([sys.executable, "-m", module, *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"{arguments}: exit code {process.returncode}"
    figures = {
        "seconds": round(os.times().elapsed - started, 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_mb": usage.ru_maxrss * 1024 // 1_000_000,
        "load": round(os.getloadavg()[0], 1),
    }
    sys.stderr.write(f"{arguments[0]}: {figures}\n")  # what comes after it may take hours
    return figures
