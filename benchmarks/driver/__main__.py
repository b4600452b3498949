"""How much of its time the driver is busy beside many workers.

    python -m benchmarks.driver                                 # 1,000 simulated workers, a clock of their own, no Ray
    python -m benchmarks.driver --workers 2000 --shards 1000000 --seconds 600
    python -m benchmarks.driver --real --workers 200 --shard-images 26 --seconds 120   # Ray actors that label nothing

Loop, dispatcher and fleet are those of a run. *Busy* is the CPU time of the loop's thread over the run's time; of real
workers from when all are ready, and also that of the driver's whole process, Ray's own threads in it included. A few
workers with short tasks cost the driver's process in Ray what many with long ones do.
*Idle* is the share of the workers' time in which a ready one waits for its next task, but for the end: a driver that
rests too long would show there. Storage is not touched.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from benchmarks.driver.simulated import SimulatedAnswers, SimulatedRay
from pipeline.config import Job, parse_job
from pipeline.driver import labelling as labelling_module
from pipeline.driver import pace as pace_module
from pipeline.driver.dispatch import Dispatcher
from pipeline.driver.progress import Snapshot
from pipeline.driver.seeing.metrics import RunMetrics
from pipeline.driver.workers import capacity as capacity_module
from pipeline.driver.workers import fleet as fleet_module
from pipeline.driver.workers.capacity import Capacity
from pipeline.driver.workers.fleet import Fleet
from pipeline.driver.workers.worker import OPTIONS

REPORT_EVERY_S = 60.0
STARTED_AT_ONCE = 4  # real processes
PATIENCE_S = 3600  # with real processes that start beside other work


def main() -> None:
    """Measure, print a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=1_000)
    parser.add_argument("--shards", type=int, default=20_000)
    parser.add_argument("--shard-images", type=int, default=128)
    parser.add_argument("--image-s", type=float, default=0.3, help="seconds an image, on average")
    parser.add_argument("--seconds", type=float, default=1e9, help="of the run to look at")
    parser.add_argument("--real", action="store_true", help="by a Ray of this machine, a process each")
    options = parser.parse_args()
    print(json.dumps(run_with_ray(options) if options.real else simulate(options)))


def simulate(options: argparse.Namespace) -> dict[str, Any]:
    """A run, or its first seconds, beside a Ray that is simulated."""
    ray = SimulatedRay(lambda task: (task.stop or options.shard_images) - task.first, options.image_s)
    job, plan = _job(options.workers), _plan(options)
    stop = _Stop(ray, options.seconds)
    heartbeat: Any = type("Silent", (), {"update": lambda *_: None})()
    with ExitStack() as stack:
        for module in (capacity_module, fleet_module, labelling_module, pace_module):
            stack.enter_context(patch.object(module, "time", _Time(ray)))
        stack.enter_context(patch.object(fleet_module, "ray", ray))
        stack.enter_context(patch.object(Capacity, "look_around", lambda self: None))
        stack.enter_context(patch.object(Fleet, "_start", lambda self: self._placing(ray.worker(len(self.workers)))))
        stack.enter_context(patch.object(Fleet, "waiting", lambda self: ""))
        stack.enter_context(patch.object(labelling_module.Labelling, "_join", _join))
        fleet = Fleet(job, plan, SimulatedAnswers(ray))
        metrics = stack.enter_context(RunMetrics("simulated"))
        dispatcher = Dispatcher([(shard, options.shard_images) for shard in range(options.shards)])
        labelling = labelling_module.Labelling(job, plan, dispatcher, fleet, heartbeat, metrics, lambda snapshot: None)
        began = time.thread_time()
        labelling.work(stop)
        busy_s = time.thread_time() - began - ray.own_s
    return {
        "workers": options.workers,
        "shards": options.shards,
        "shards_done": options.shards - dispatcher.shards_left,
        "run_s": round(ray.now_s),
        "busy_s": round(busy_s, 1),
        "busy_share": round(busy_s / ray.now_s, 4),
        "loops_a_second": round(ray.waits / ray.now_s, 1),
        "idle_share": round(ray.idle_s / (options.workers * ray.now_s), 4),
    }


def run_with_ray(options: argparse.Namespace) -> dict[str, Any]:
    """A run by real actors, measured from when all are ready for `--seconds`, or to its end."""
    import ray

    from benchmarks.driver.light import Light

    # Ray starts as many processes at once as there are CPUs: the workers ask for something else.
    ray.init(
        num_cpus=STARTED_AT_ONCE,
        resources={"light": options.workers},
        include_dashboard=False,
        log_to_driver=False,
        _system_config={"worker_register_timeout_seconds": PATIENCE_S},
    )
    light: Any = ray.remote(**OPTIONS)(Light).options(num_cpus=0, resources={"light": 1})
    job, plan, stop = _job(options.workers), _plan(options), threading.Event()
    heartbeat: Any = type("Silent", (), {"update": lambda *_: None})()
    looks: list[_Look] = []

    def watch(snapshot: Snapshot) -> None:
        if not looks and snapshot.workers % 10 == 0:
            print(f"{snapshot.workers} ready", end="\r", file=sys.stderr, flush=True)
        if snapshot.workers == options.workers and not stop.is_set():
            looks[1:] = [_Look(snapshot.shards_left)]  # the first one stays
            if looks[-1].at_s - looks[0].at_s > options.seconds:
                stop.set()

    with ExitStack() as stack:
        start = light.remote
        stack.enter_context(
            patch.object(Fleet, "_start", lambda self: self._placing(start(options.shard_images, options.image_s)))
        )
        stack.enter_context(patch.object(labelling_module.Labelling, "_join", _join))
        fleet, metrics = Fleet(job, plan), stack.enter_context(RunMetrics("light"))
        dispatcher = Dispatcher([(shard, options.shard_images) for shard in range(options.shards)])
        labelling_module.Labelling(job, plan, dispatcher, fleet, heartbeat, metrics, watch).work(stop)
        fleet.close()
    ray.shutdown()
    assert len(looks) == 2, "the run was over before all workers were ready"
    return {"workers": options.workers, **looks[1].since(looks[0])}


def _plan(options: argparse.Namespace) -> Any:
    images = options.shards * options.shard_images
    return SimpleNamespace(root="", fingerprint="", images=images, objects=images, shards=range(options.shards))


def _job(workers: int) -> Job:
    document = {"images": "a", "clicks": "b", "output": "c", "workers": {"count": workers, "gpus": 0}}
    document["limits"] = {"patience_s": PATIENCE_S, "schedule_timeout_s": PATIENCE_S}
    return parse_job(document, "job")


def _join(self: Any, shard: int, apart: object) -> None:
    """Commits nothing."""
    if apart is not None:
        self._dispatcher.committed(shard)


@dataclass(frozen=True)
class _Look:
    """How far the run is, and what it has cost by then."""

    shards_left: int
    at_s: float = field(default_factory=time.monotonic)
    thread_s: float = field(default_factory=time.thread_time)
    process_s: float = field(default_factory=time.process_time)

    def since(self, earlier: _Look) -> dict[str, float]:
        seconds = self.at_s - earlier.at_s
        return {
            "tasks_a_second": round((earlier.shards_left - self.shards_left) / seconds, 1),
            "run_s": round(seconds),
            "busy_share": round((self.thread_s - earlier.thread_s) / seconds, 4),
            "busy_share_of_the_process": round((self.process_s - earlier.process_s) / seconds, 4),
        }


class _Time:
    """Stands for the module `time`: the simulated clock, and this process's own CPU time."""

    def __init__(self, ray: SimulatedRay) -> None:
        self.monotonic, self.sleep = ray.monotonic, ray.rest
        self.thread_time = lambda: time.thread_time() - ray.own_s


class _Stop:
    """Stands for the event that tells the run to stop."""

    def __init__(self, ray: SimulatedRay, at_s: float) -> None:
        self._ray, self._at_s, self._said_s = ray, at_s, 0.0
        self.wait = ray.rest

    def is_set(self) -> bool:
        """Whether the time is over."""
        if self._ray.now_s > self._said_s + REPORT_EVERY_S:
            self._said_s = self._ray.now_s
            print(f"at {self._said_s:.0f} s", file=sys.stderr, flush=True)
        return self._ray.now_s > self._at_s


if __name__ == "__main__":
    main()
