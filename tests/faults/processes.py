"""Processes of a fault test: their environment, which of them are workers, and waiting for something to happen."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

from tests.s3_server import credentials

REPOSITORY = Path(__file__).resolve().parents[2]
PATIENCE_S = 240.0
# Ray's workers make way for everybody else (nice 15): beside a program that keeps all cores busy tests would starve.
AS_NICE_AS_ANYBODY = {"RAY_worker_niceness": "0"}


def clean_environment(more: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without what would connect to another Ray, with what workers need."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return own | credentials() | AS_NICE_AS_ANYBODY | {"PYTHONPATH": str(REPOSITORY)} | dict(more)


def workers_among(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that are Labeler actors now."""
    found = []
    for process in processes:
        try:
            if (
                process.is_running()
                and process.status() != psutil.STATUS_ZOMBIE
                and "ray::Labeler" in process.cmdline()[0]
            ):
                found.append(process)
        except (psutil.NoSuchProcess, IndexError):
            continue
    return found


def wait_until(condition: Callable[[], bool], explain: Callable[[], str], timeout_s: float = PATIENCE_S) -> None:
    give_up_at = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < give_up_at, f"nothing for {timeout_s:g} s:\n{explain()}"
        time.sleep(0.1)
