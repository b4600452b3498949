"""How far a run is: from the driver while it works, and from the output alone for anybody who asks."""

from __future__ import annotations

import json
import logging
import os
import platform
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pipeline.attempts import all_attempts
from pipeline.describe import describe
from pipeline.driver.doubts import Doubts, write_doubts
from pipeline.driver.seeing.slowest import NodeTotal, Slowest, read_slowest, write_slowest
from pipeline.driver.seeing.stages import write_stages
from pipeline.driver.suspicions import Suspicions, write_suspicions
from pipeline.manifests.count import count_objects
from pipeline.manifests.freeze import freeze_by_manifests
from pipeline.plan import Plan
from pipeline.storage.store import Store
from pipeline.tasks import Progress, SlowImage

HEARTBEAT_KEY = "status/heartbeat.json"
HEARTBEAT_EVERY_S = 10.0
ALIVE_WITHIN_S = 60.0

log = logging.getLogger("m2n2.run")


@dataclass(frozen=True)
class Snapshot:
    """The state of one attempt.

    Attributes:
        images_before: what earlier drivers did.
        workers: those that have their model.
        wanted: how many would have something to do, of those that the job asks for or that there is room for.
        waiting: why there are none, for people; empty where there are.
        suspicions: what the next driver should know.
        doubts: what looks wrong although nothing failed; None where that is not counted.
        stages: seconds by stage, of earlier drivers too; None where they are not added up.
        slowest: images and nodes, of earlier drivers too; None where that is not looked at.
        progress: what this driver did.
    """

    images_total: int
    objects_total: int
    images_before: int
    shards_total: int
    shards_left: int
    workers: int = 0
    wanted: int = 0
    waiting: str = ""
    suspicions: Suspicions = field(default_factory=Suspicions)
    doubts: Doubts | None = None
    stages: Mapping[str, float] | None = None
    slowest: Slowest | None = None
    progress: Progress = field(default_factory=Progress)
    began_s: float = field(default_factory=time.monotonic)

    @classmethod
    def begin(cls, plan: Plan, shards_left: int, images_left: int) -> Snapshot:
        """The state before any work of this driver."""
        return cls(plan.images, plan.objects, plan.images - images_left, len(plan.shards), shards_left)

    @property
    def images_done(self) -> int:
        """Images that are done, never more than there are (an image can be done twice after a crash)."""
        return min(self.images_total, self.images_before + self.progress.images)

    @property
    def images_per_s(self) -> float:
        """This driver's rate since it began."""
        return self.progress.images / max(1e-9, time.monotonic() - self.began_s)

    @property
    def left_s(self) -> float | None:
        """Seconds left at the present rate; None before the first image."""
        if not self.progress.images:
            return None
        return (self.images_total - self.images_done) / self.images_per_s


class Heartbeat:
    """Says in the store, every few seconds, that a driver is alive and how far it is."""

    def __init__(self, store: Store, fingerprint: str, worker_cpus: float) -> None:
        """`fingerprint` is that of the plan which is worked on, `worker_cpus` what each worker has."""
        self._store, self._fingerprint, self._worker_cpus = store, fingerprint, worker_cpus
        self._suspicions = Suspicions()
        self._doubts: Doubts | None = None
        self._stages: Mapping[str, float] = {}
        self._slowest = Slowest()
        self._snapshot: Snapshot | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *reason: object) -> None:
        self._ended.set()
        self._thread.join(timeout=HEARTBEAT_EVERY_S)

    def update(self, snapshot: Snapshot) -> None:
        """What the next beat will say."""
        self._snapshot = snapshot

    def _beat(self) -> None:
        while not self._ended.wait(HEARTBEAT_EVERY_S if self._snapshot else 0.1):
            if self._snapshot is not None:
                self._say(self._snapshot)
        if self._snapshot is not None:
            self._say(self._snapshot, ended=True)

    def _say(self, snapshot: Snapshot, ended: bool = False) -> None:
        document = {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "host": platform.node(),
            "pid": os.getpid(),
            "ended": ended,
            "images_done": snapshot.images_done,
            "images_per_s": round(snapshot.images_per_s, 3),
            "left_s": snapshot.left_s,
            "workers": snapshot.workers,
            "wanted": snapshot.wanted,
            "worker_cpus": self._worker_cpus,
            "waiting": snapshot.waiting,
        }
        try:
            self._store.put(HEARTBEAT_KEY, json.dumps(document).encode())
            if snapshot.suspicions != self._suspicions:
                write_suspicions(self._store, self._fingerprint, snapshot.suspicions)
                self._suspicions = snapshot.suspicions
            if snapshot.doubts is not None and snapshot.doubts != self._doubts:
                write_doubts(self._store, self._fingerprint, snapshot.doubts)
                self._doubts = snapshot.doubts
            if snapshot.stages is not None and snapshot.stages != self._stages:
                write_stages(self._store, self._fingerprint, snapshot.stages)
                self._stages = snapshot.stages
            if snapshot.slowest is not None and snapshot.slowest != self._slowest:
                write_slowest(self._store, self._fingerprint, snapshot.slowest)
                self._slowest = snapshot.slowest
        except OSError as error:
            # The work itself meets the same outage or full disk and reports it; a reader should see the missed beat.
            log.debug("no heartbeat: %s", describe(error))


@dataclass(frozen=True)
class Status:
    """What an output says of its run.

    Attributes:
        outcome, message: how the last start ended, and why; None and nothing before one has.
        slow_images: those that took longest, the longest first.
        slow_nodes: every node that did something, those with the most seconds an image first.
    """

    shards_total: int
    shards_done: int
    objects_total: int
    objects_done: int
    failed: Mapping[str, int]
    examples: Mapping[str, Sequence[str]]
    heartbeat: Mapping[str, Any] | None
    driver_alive: bool
    last_part: datetime | None
    outcome: str | None
    message: str
    slow_images: Sequence[SlowImage]
    slow_nodes: Sequence[NodeTotal]


def read_status(store: Store) -> Status | None:
    """The status of the run below `store`, from any machine; None where no plan is."""
    attempts = all_attempts(store)
    if not attempts:
        return None
    parts = freeze_by_manifests(store, attempts)
    counted = count_objects(parts)
    slowest = read_slowest(store, attempts[0].fingerprint)
    heartbeat, outcome = _json(store, HEARTBEAT_KEY), _json(store, "run.json")
    return Status(
        shards_total=sum(len(plan.shards) for plan in attempts),
        shards_done=sum(len(attempt.sizes) for attempt in parts.attempts),
        objects_total=attempts[0].objects,
        objects_done=counted.objects,
        failed=counted.failed,
        examples=counted.examples,
        heartbeat=heartbeat,
        driver_alive=_is_alive(heartbeat),
        last_part=max(filter(None, (attempt.newest for attempt in parts.attempts)), default=None),
        outcome=outcome["outcome"] if outcome else None,
        message=outcome.get("message", "") if outcome else "",
        slow_images=slowest.images,
        slow_nodes=slowest.slowest_nodes(),
    )


def _is_alive(heartbeat: Mapping[str, Any] | None) -> bool:
    if heartbeat is None or heartbeat["ended"]:
        return False
    age = datetime.now(UTC) - datetime.fromisoformat(heartbeat["at"])
    return abs(age.total_seconds()) < ALIVE_WITHIN_S


def _json(store: Store, key: str) -> dict[str, Any] | None:
    try:
        document: dict[str, Any] = json.loads(store.read(key))
    except FileNotFoundError:
        return None
    return document
