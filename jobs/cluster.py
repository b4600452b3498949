"""The connection to Ray: a cluster that is running, or one on this machine for as long as the command runs."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray

from pipeline.config import InvalidJob, Job

OBJECT_STORE_BYTES = 256_000_000  # images and masks never travel through it


@contextmanager
def connected(job: Job, address: str | None) -> Iterator[None]:
    """Connect to `address` (default: RAY_ADDRESS, else a Ray of this machine's own); disconnect at the end.

    Raises:
        InvalidJob: this machine's own Ray could never hold one of the job's workers.
    """
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
    own = not (address or os.environ.get("RAY_ADDRESS"))
    if own:
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        ray.init(include_dashboard=False, object_store_memory=OBJECT_STORE_BYTES, **quiet)
    else:
        ray.init(address=address, **quiet)
    try:
        # Ray puts a handler of its own that ends the process at once: a driver has to drain.
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if own:
            _check_room(job)
        yield
    finally:
        ray.shutdown()


def _check_room(job: Job) -> None:
    room = ray.cluster_resources()
    for key, resource, wanted in (("gpus", "GPU", job.workers.gpus), ("cpus", "CPU", job.workers.cpus)):
        found = room.get(resource, 0.0)
        if wanted > found:
            raise InvalidJob(
                f"workers.{key}: found {wanted:g}; allowed: at most {found:g}, what this machine has "
                f"(on a machine without a GPU: workers.gpus=0)"
            )
