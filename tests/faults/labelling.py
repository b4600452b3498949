"""One output and the drivers that work on it, each a process of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import yaml

from pipeline.attempts import all_attempts
from pipeline.config import parse_job
from pipeline.driver.run import run
from pipeline.parts import read_part
from pipeline.plan import find_or_make_plan
from pipeline.storage.filesystem import Storage
from pipeline.storage.store import Store
from pipeline.tasks import Task
from tests.faults.data import Photos
from tests.faults.processes import clean_environment, wait_until, workers_among
from tests.s3_server import S3Server

if TYPE_CHECKING:
    from tests.faults.cluster import Cluster

FINISH_S = 240.0
LOOK_EVERY_S = 1.0  # looking costs as much as there are processes on the machine
SECONDS_AN_IMAGE = 0.3  # a run that three workers share still takes seconds, in which it can be disturbed
EXPORT = "export/coco/instances.json"


@dataclass
class Driver:
    """One `m2n2 label`: its process, its Ray and its log."""

    process: subprocess.Popen[bytes]
    log: Path
    family: list[psutil.Process] = field(default_factory=list)

    def look(self) -> None:
        """Remember the processes that it has started by now: after its death nobody knows whose they were."""
        if self.process.poll() is None:
            known = {each.pid for each in self.family}
            children = psutil.Process(self.process.pid).children(recursive=True)
            self.family += [each for each in children if each.pid not in known]

    def workers(self) -> list[psutil.Process]:
        self.look()
        return workers_among(self.family)

    def wait(self, timeout_s: float = FINISH_S) -> int:
        """Its exit code."""
        give_up_at = time.monotonic() + timeout_s
        while self.process.poll() is None:
            assert time.monotonic() < give_up_at, f"the driver does not end:\n{self.text()}"
            self.look()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(LOOK_EVERY_S)
        return self.process.returncode

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        self.look()
        self.process.send_signal(number)

    def end(self) -> None:
        """Leave nothing behind, whatever the test did."""
        self.look()
        for each in (self.process, *self.family):
            try:
                each.kill()
            except psutil.NoSuchProcess:
                continue
        self.process.wait()

    def text(self) -> str:
        return self.log.read_text(errors="replace")[-20_000:]


@dataclass
class Labelling:
    """A job with an output of its own, on a set of photos."""

    photos: Photos
    output: Store
    directory: Path
    overrides: Mapping[str, Any] = field(default_factory=dict)
    drivers: list[Driver] = field(default_factory=list)

    def start(self, cluster: Cluster | None = None, **overrides: Any) -> Driver:
        """Start a driver, on a cluster or with a Ray of its own."""
        number = len(self.drivers)
        job, log = self.directory / f"job-{number}.yaml", self.directory / f"driver-{number}.log"
        job.write_text(yaml.safe_dump(self._job() | dict(self.overrides) | overrides))
        command = [str(Path(sys.executable).parent / "m2n2"), "--verbose", "label", str(job)]
        command += ["--address", cluster.address] if cluster else []
        environment = clean_environment(cluster.environment() if cluster else {})
        with log.open("wb") as file:
            process = subprocess.Popen(command, env=environment, stdout=file, stderr=file, start_new_session=True)
        self.drivers.append(Driver(process, log))
        return self.drivers[-1]

    def run(self, cluster: Cluster | None = None, **overrides: Any) -> Driver:
        """Start a driver that is to finish everything, and wait for it."""
        driver = self.start(cluster, **overrides)
        assert driver.wait() == 0, driver.text()
        return driver

    def run_here(self) -> None:
        """Label everything in this process; the driver then finds nothing to do but the export."""
        from pipeline.worker.labeler import Labeler

        job = parse_job(self._job() | dict(self.overrides), "job")
        plan = find_or_make_plan(job)
        worker = Labeler(job, plan.reference)
        worker.load([])
        for shard in plan.shards:
            worker.label(Task(shard.index), shard)
        assert run(job).outcome == "complete"

    def parts(self) -> list[str]:
        return [entry.key for entry in self.output.listing("") if "/parts/" in f"/{entry.key}"]

    def wait_for_parts(self, count: int, driver: Driver) -> None:
        wait_until(lambda: len(self.parts()) >= count or driver.process.poll() is not None, driver.text)
        assert driver.process.poll() is None, f"the driver ended before it was disturbed:\n{driver.text()}"

    def rows(self) -> list[dict[str, Any]]:
        """All rows of all parts, as they stand in the store."""
        plans = all_attempts(self.output)
        return [
            row
            for plan in plans
            for shard in plan.shards
            for row in read_part(self.output, plan, shard.index).to_pylist()
        ]

    def assert_nothing_lost(self, undisturbed: Labelling | None = None) -> None:
        """Every object exactly once, as mask or error; the export is the undisturbed run's, to the byte."""
        found = Counter((row["image"], row["object"]) for row in self.rows())
        assert found == Counter(self.photos.objects)
        for row in self.rows():
            assert (row["rle"] is None) != (row["error"] is None), row
        if undisturbed is not None:
            assert not any(row["error"] for row in self.rows())
            assert self.export() == undisturbed.export()

    def export(self) -> bytes:
        return self.output.read(EXPORT)

    def masks(self) -> dict[tuple[str, str], Any]:
        """What was exported, by image and object."""
        document = json.loads(self.export())
        names = {image["id"]: image["file_name"] for image in document["images"]}
        return {(names[each["image_id"]], each["object"]): each["segmentation"] for each in document["annotations"]}

    def move_inputs_to(self, server: S3Server) -> None:
        """Read images and clicks from another server, where they are written anew."""
        bucket = server.bucket("faults")
        storage = Storage(endpoint_url=server.endpoint_url)
        self.photos = Photos(Store(f"{bucket}/inputs/", storage), self.photos.count).write()

    def end(self) -> None:
        for driver in self.drivers:
            driver.end()

    def _job(self) -> dict[str, Any]:
        return {
            "images": self.photos.images,
            "clicks": self.photos.clicks,
            "output": self.output.root,
            "backbone": {
                "name": "tests.faults.backbones:Vulnerable",
                "grid": 6,
                "options": {"seconds": SECONDS_AN_IMAGE},
            },
            "workers": {"count": 1, "gpus": 0, "cpus": 1},
            "shard_images": 2,
            "storage": {"endpoint_url": self.output.storage.endpoint_url},
        }
