"""How much of its time the driver is busy beside many workers.

    python -m benchmarks.driver                                 # 1,000 simulated workers, a clock of their own, no Ray
    python -m benchmarks.driver --workers 2000 --shards 1000000 --seconds 600
    python -m benchmarks.driver --real --workers 24 --shards 1500 --shard-images 4   # Ray actors that label nothing

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
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from benchmarks.driver.simulated import SimulatedRay
from pipeline.config import Job, parse_job
from pipeline.driver import fleet as fleet_module
from pipeline.driver import pace as pace_module
from pipeline.driver import run as run_module
from pipeline.driver.dispatch import Dispatcher
from pipeline.driver.fleet import Fleet, _Worker
from pipeline.driver.progress import Snapshot
from pipeline.driver.seeing.metrics import RunMetrics

REPORT_EVERY_S = 60.0


def main() -> None:
    """Measure, print a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=1_000)
    parser.add_argument("--shards", type=int, default=20_000)
    parser.add_argument("--shard-images", type=int, default=128)
    parser.add_argument("--image-s", type=float, default=0.3, help="seconds an image, on average")
    parser.add_argument("--seconds", type=float, default=1e9, help="of the run, by its own clock, to look at")
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
        for module in (fleet_module, pace_module, run_module):
            stack.enter_context(patch.object(module, "time", _Time(ray)))
        stack.enter_context(patch.object(fleet_module, "ray", ray))
        stack.enter_context(patch.object(Fleet, "_look_around", lambda self, at_once=False: None))
        stack.enter_context(patch.object(Fleet, "_end_without_room", lambda self: None))
        stack.enter_context(patch.object(Fleet, "_start", lambda self: _worker(ray, len(self._workers))))
        stack.enter_context(patch.object(Fleet, "waiting", lambda self: ""))
        stack.enter_context(patch.object(run_module._Labelling, "_join", _join))
        fleet, metrics = Fleet(job, plan), stack.enter_context(RunMetrics("simulated"))
        dispatcher = Dispatcher([(shard, options.shard_images) for shard in range(options.shards)])
        labelling = run_module._Labelling(job, plan, dispatcher, fleet, heartbeat, metrics, lambda snapshot: None)
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
    """A run by real actors, measured from when all are ready."""
    import ray

    from benchmarks.driver.light import Light

    ray.init(num_cpus=options.workers, include_dashboard=False, log_to_driver=False)
    light: Any = ray.remote(**fleet_module._OPTIONS)(Light)
    job, plan = _job(options.workers), _plan(options)
    heartbeat: Any = type("Silent", (), {"update": lambda *_: None})()
    began: tuple[float, float, float, int] | None = None

    def watch(snapshot: Snapshot) -> None:
        nonlocal began
        if began is None and snapshot.workers == options.workers:
            began = (time.monotonic(), time.thread_time(), time.process_time(), snapshot.shards_left)

    def start(self: Fleet) -> _Worker:
        actor = light.options(num_cpus=1).remote(options.shard_images, options.image_s)
        return _Worker(actor, placing=actor.place.remote(), since_s=time.monotonic())

    with ExitStack() as stack:
        stack.enter_context(patch.object(Fleet, "_start", start))
        stack.enter_context(patch.object(run_module._Labelling, "_join", _join))
        fleet, metrics = Fleet(job, plan), stack.enter_context(RunMetrics("light"))
        dispatcher = Dispatcher([(shard, options.shard_images) for shard in range(options.shards)])
        labelling = run_module._Labelling(job, plan, dispatcher, fleet, heartbeat, metrics, watch)
        labelling.work(threading.Event())
        assert began is not None, "the run was over before all workers were ready"
        seconds = time.monotonic() - began[0]
        busy_s, process_s = time.thread_time() - began[1], time.process_time() - began[2]
        fleet.close()
    ray.shutdown()
    return {
        "workers": options.workers,
        "tasks_a_second": round((began[3] - dispatcher.shards_left) / seconds, 1),
        "run_s": round(seconds),
        "busy_share": round(busy_s / seconds, 4),
        "busy_share_of_the_process": round(process_s / seconds, 4),
    }


def _plan(options: argparse.Namespace) -> Any:
    images = options.shards * options.shard_images
    return SimpleNamespace(root="", fingerprint="", images=images, objects=images, shards=range(options.shards))


def _job(workers: int) -> Job:
    document = {"images": "a", "clicks": "b", "output": "c", "workers": {"count": workers, "gpus": 0}}
    return parse_job(document, "job")


def _worker(ray: SimulatedRay, number: int) -> _Worker:
    actor = ray.worker(number)
    return _Worker(actor, placing=actor.place.remote(), since_s=ray.now_s)


def _join(self: Any, shard: int, apart: object) -> None:
    """Commits nothing."""
    if apart is not None:
        self._dispatcher.committed(shard)


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
