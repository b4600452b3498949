"""Planning and labelling a run of any size without a model: what the distribution itself costs.

The run is real: the driver is a process of its own, workers are Ray actors, plan and parts go to a disk or, with
`--s3`, to an S3 server that is started for it. Only the images are synthetic (benchmarks/synthetic.py), and the
backbone gives every image the same attention. Three drivers follow each other on one output: one worker, killed with
SIGKILL at 40 % of the shards; one worker, told to stop (SIGTERM) at 60 %; two workers, which finish.

How the figures are defined:

- *the work itself*: decoding, `Scene` and encoding of one image, alone in one process, milliseconds by the clock;
- *overhead an image*: the clock time of an image with one worker, minus the work itself. Fetching, plan, parts, Ray,
  driver and their waiting are all in it; what overlaps with the work on a second core is not. So the same is given in
  CPU time of all processes (driver, worker, Ray's own) from the first part to the last;
- *restart*: from the start of the command's process to its first new part in the store;
- *driver memory*: resident bytes of the driver's process, sampled once a second. *Flat*: the mean of the last quarter
  of a driver's samples over that of its second quarter.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

from benchmarks.scale.planning import plan_apart
from benchmarks.synthetic import GRID, OBJECTS_AN_IMAGE, LocalAttention, SyntheticImages, click, picture, write_clicks
from pipeline.config import Job, load_job
from pipeline.parts import finished_shards
from pipeline.plan import load_plan

SAMPLE_EVERY_S = 1.0
TEN_MILLION = 10_000_000


def measure(directory: Path, options: argparse.Namespace, storage: dict[str, Any]) -> dict[str, Any]:
    """All figures of one benchmark."""
    images = write_clicks(directory / "clicks", options.objects)
    job_file = write_job(directory, options.shard_images, storage)
    figures: dict[str, Any] = {
        "objects": options.objects,
        "images": images,
        "shard_images": options.shard_images,
        "store": "s3" if options.s3 else "disk",
    }
    figures["planning"] = plan_apart(job_file)
    say(f"planned: {figures['planning']}")
    if options.plan_only:
        return figures
    figures["work_itself_ms_an_image"], figures["work_itself_cpu_ms_an_image"] = work_itself_ms()
    job = load_job(job_file)
    plan = load_plan(job.output_store)
    assert plan is not None
    total = len(plan.shards)
    figures["one_worker"] = run_until(job_file, job, round(0.4 * total), signal.SIGKILL)
    say(f"one worker: {figures['one_worker']}")
    figures["restarted"] = run_until(job_file, job, round(0.6 * total), signal.SIGTERM)
    say(f"restarted: {figures['restarted']}")
    set_workers(job_file, 2)
    figures["two_workers"] = run_until(job_file, job, total, None)
    say(f"two workers: {figures['two_workers']}")
    started = time.monotonic()
    listed = len(finished_shards(job.output_store, plan))
    figures["listing"] = {"parts": listed, "seconds": round(time.monotonic() - started, 2)}
    figures |= summary(figures)
    return figures


def write_job(directory: Path, shard_images: int, storage: dict[str, Any]) -> Path:
    """The job file of the benchmark, with one worker."""
    job = {
        "images": "synthetic://pictures/",
        "clicks": str(directory / "clicks" / "*.parquet"),
        "backbone": {"name": "benchmarks.synthetic:LocalAttention", "grid": GRID},
        "workers": {"count": 1, "gpus": 0, "cpus": 1},
        "shard_images": shard_images,
        **storage,
    }
    path = directory / "job.yaml"
    path.write_text(yaml.safe_dump(job))
    return path


def set_workers(job_file: Path, count: int) -> None:
    """How many workers the next driver takes; it is no part of the plan's fingerprint."""
    job = yaml.safe_load(job_file.read_text())
    job["workers"]["count"] = count
    job_file.write_text(yaml.safe_dump(job))


def work_itself_ms(rounds: int = 5, images_a_round: int = 100) -> tuple[float, float]:
    """One image's decoding, segmenting and encoding with nothing around them: milliseconds, and of CPU time.

    Of the fastest round: whatever else the machine does must not make the pipeline's share look smaller.
    """
    import torch

    from m2n2 import Prompt, Scene
    from pipeline.clicks import ObjectClicks
    from pipeline.parts import mask_row
    from pipeline.worker.images import decode_image

    torch.set_num_threads(1)
    data = SyntheticImages(skip_instance_cache=True).cat_file("any")
    backbone = LocalAttention(None, "cpu", "float32", GRID)
    prompts = [Prompt([click(number)], [True]) for number in range(OBJECTS_AN_IMAGE)]
    clicks = ObjectClicks("any", "0", "object", [], None)
    seconds, cpu_seconds = [], []
    for _ in range(1 + rounds):  # the first one compiles and warms up
        started, cpu_started = time.perf_counter(), time.process_time()
        for _ in range(images_a_round):
            pixels = decode_image(data, "any")
            scene = Scene(pixels, backbone.attention(pixels), overwrite_attention=True)
            for mask in scene.segment(prompts):
                mask_row(clicks, mask.mask, mask.score, 0.0)
        seconds.append(time.perf_counter() - started)
        cpu_seconds.append(time.process_time() - cpu_started)
    assert pixels.shape == picture().shape
    return round(1000 * min(seconds[1:]) / images_a_round, 2), round(1000 * min(cpu_seconds[1:]) / images_a_round, 2)


def run_until(job_file: Path, job: Job, shards: int, stop_with: signal.Signals | None) -> dict[str, Any]:
    """Run a driver until so many shards have their part, or to its end; its rate, memory and time to the first part."""
    store = job.output_store
    plan = load_plan(store)
    assert plan is not None
    before = len(finished_shards(store, plan))
    began, samples = time.monotonic(), [Sample(0.0, before, 0, 0.0)]
    with start(job_file) as driver:
        process = psutil.Process(driver.pid)
        while driver.poll() is None:
            time.sleep(SAMPLE_EVERY_S)
            done = len(finished_shards(store, plan))
            samples.append(Sample(time.monotonic() - began, done, memory(process), cpu_seconds(process)))
            if stop_with is not None and done >= shards:
                workers = [each for each in process.children(recursive=True) if "Labeler" in each.cmdline()[0]]
                driver.send_signal(stop_with)
                driver.wait()
                left = psutil.wait_procs(workers, timeout=120)[1]
                assert not left, f"the driver is gone and its workers are not: {left}"
        assert stop_with is not None or driver.returncode == 0, "the driver failed"
    labelled = [each for each in samples if before < each.parts < samples[-1].parts]
    last = next(each for each in samples if each.parts == samples[-1].parts)
    first, end = labelled[0], labelled[-1]
    shards_between, seconds = max(1, end.parts - first.parts), end.at_s - first.at_s
    images_between = shards_between * plan.shards[0].images
    return {
        "shards": samples[-1].parts - before,
        "ms_a_shard": round(1000 * seconds / shards_between, 1),
        "ms_an_image": round(1000 * seconds / images_between, 2),
        "cpu_ms_an_image": round(1000 * (end.cpu_s - first.cpu_s) / images_between, 2),
        "start_to_first_part_s": round(first.at_s, 1),
        "after_the_last_part_s": round(samples[-1].at_s - last.at_s, 1),
        **memory_figures([each.memory for each in samples if each.memory]),
    }


@dataclass(frozen=True)
class Sample:
    """A driver at one moment: its parts, its own resident bytes, CPU seconds of it and all it started."""

    at_s: float
    parts: int
    memory: int
    cpu_s: float


def memory(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def cpu_seconds(process: psutil.Process) -> float:
    seconds = 0.0
    try:
        for each in (process, *process.children(recursive=True)):
            times = each.cpu_times()
            seconds += times.user + times.system
    except psutil.NoSuchProcess:
        return seconds
    return seconds


def memory_figures(sizes: list[int]) -> dict[str, Any]:
    """Peak and growth of the driver's resident memory."""
    quarter = max(1, len(sizes) // 4)
    early, late = sizes[quarter : 2 * quarter] or sizes, sizes[-quarter:]
    return {
        "driver_peak_mb": round(max(sizes) / 1e6),
        "driver_late_over_early": round(statistics.mean(late) / statistics.mean(early), 3),
    }


def summary(figures: dict[str, Any]) -> dict[str, Any]:
    """The bars of the project, and ten million objects by extrapolation (not measured)."""
    one, two, objects = figures["one_worker"], figures["two_workers"], figures["objects"]
    factor = TEN_MILLION / objects
    per_worker_h = one["ms_an_image"] * figures["images"] * factor / 3.6e6
    return {
        "overhead_ms_an_image": round(one["ms_an_image"] - figures["work_itself_ms_an_image"], 2),
        "overhead_cpu_ms_an_image": round(one["cpu_ms_an_image"] - figures["work_itself_cpu_ms_an_image"], 2),
        "two_workers_over_one": round(one["ms_an_image"] / two["ms_an_image"], 2),
        "extrapolated_to_10_million_objects": {
            "planning_s": round(figures["planning"]["seconds"] * factor),
            "labelling_h_with_one_worker_of_this_machine": round(per_worker_h, 1),
            "listing_s": round(figures["listing"]["seconds"] * factor, 1),
            "counting_and_export_s": round(two["after_the_last_part_s"] * factor),
        },
    }


@contextmanager
def start(job_file: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A driver, which is gone when the block ends."""
    command = [sys.executable, "-m", "benchmarks.scale", "--process", "label", "--job", str(job_file)]
    # Workers find the backbone's module where the driver finds it.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")])}
    started = subprocess.Popen(command, env=environment)
    try:
        yield started
    finally:
        started.kill()
        started.wait()


def label_process(job_file: Path) -> None:
    """What `m2n2 label` does."""
    from jobs.cli import main as m2n2

    sys.exit(m2n2(["label", str(job_file)]))


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
