"""How fast runs were: measured while they run, kept with their output and in the cache, found again for a forecast."""

from __future__ import annotations

import hashlib
import json
import logging
import platform
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from m2n2.backbones.weights import default_cache
from pipeline.config import Job
from pipeline.describe import describe
from pipeline.driver.progress import Snapshot
from pipeline.storage.store import Store

RATE_KEY = "status/rate.json"
FEWEST_IMAGES = 2

log = logging.getLogger("m2n2.rates")


@dataclass(frozen=True)
class Rate:
    """What a run measured.

    Attributes:
        setup: what has to be the same for it to hold: backbone, dtype, grid, device, and on a CPU how many of them.
        images: images it was measured over.
        worker_seconds: what they took, all workers' seconds added up.
        output: of the run. `host` is its driver's, `at` when it ended.
    """

    setup: dict[str, Any]
    images: int
    worker_seconds: float
    output: str
    host: str
    at: str

    @property
    def images_per_s(self) -> float:
        """Images a second of one worker."""
        return self.images / self.worker_seconds


class RateMeter:
    """Takes a run's snapshots; measures from its first image on, so that starting workers does not count."""

    def __init__(self) -> None:
        self._last: Snapshot | None = None
        self._last_s = 0.0
        self._images, self._worker_seconds = 0, 0.0

    def __call__(self, snapshot: Snapshot) -> None:
        """Take in what a run says of itself, about twice a second."""
        now, last = time.monotonic(), self._last
        # The next attempt of a run counts from 0 again.
        if last is not None and 0 < last.progress.images <= snapshot.progress.images:
            self._images += snapshot.progress.images - last.progress.images
            self._worker_seconds += snapshot.workers * (now - self._last_s)
        self._last, self._last_s = snapshot, now

    def measured(self, job: Job) -> Rate | None:
        """The rate so far; None before there is enough to say."""
        if self._images < FEWEST_IMAGES or not self._worker_seconds:
            return None
        at = datetime.now(UTC).isoformat(timespec="seconds")
        return Rate(_setup(job), self._images, round(self._worker_seconds, 1), job.output, platform.node(), at)


def keep_rate(job: Job, meter: RateMeter) -> None:
    """Write what was measured into the run's output and this machine's cache; no room in the cache is a warning."""
    rate = meter.measured(job)
    if rate is None:
        return
    document = json.dumps(asdict(rate)).encode()
    job.output_store.put(RATE_KEY, document)
    try:
        Store(str(_cache())).put(_cache_name(job), document)
    except OSError as error:
        log.warning("the rate of this run was not kept in %s: %s", _cache(), describe(error))


def latest_rate(job: Job) -> Rate | None:
    """The newest rate for the job's setup, of the run in its output or of one that this machine remembers."""
    # Outputs beside it are not searched: in a bucket that lists every part of every run.
    places = [(job.output_store, RATE_KEY), (Store(str(_cache())), _cache_name(job))]
    known = [rate for rate in (_read(*place) for place in places) if rate is not None and rate.setup == _setup(job)]
    return max(known, key=lambda rate: rate.at, default=None)


def _read(store: Store, key: str) -> Rate | None:
    try:
        return Rate(**json.loads(store.read(key)))
    except FileNotFoundError:
        return None


def _setup(job: Job) -> dict[str, Any]:
    backbone = job.backbone
    device = ("cuda" if job.workers.gpus else "cpu") if backbone.device == "auto" else backbone.device
    setup = {"backbone": backbone.name, "dtype": backbone.dtype, "grid": backbone.grid, "device": device}
    return setup if device == "cuda" else setup | {"cpus": job.workers.cores}


def _cache() -> Path:
    return default_cache() / "rates"


def _cache_name(job: Job) -> str:
    return hashlib.sha256(json.dumps(_setup(job), sort_keys=True).encode()).hexdigest()[:16] + ".json"
