"""`m2n2 demo`: the whole product on this machine, on photos that scikit-image ships."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobs.commands.label import label_job
from jobs.console import say

if TYPE_CHECKING:
    from pipeline.config import Job
    from pipeline.driver.progress import Snapshot

GRID = 48  # a photo takes less than half as long as with 64, the default


def demo(to: Annotated[Path, typer.Option(metavar="DIR")] = Path("demo")) -> int:
    """Label a few photos on this machine and draw the masks.

    Example: m2n2 demo --to demo
    """
    if ":/" in str(to):
        from pipeline.config import InvalidJob

        raise InvalidJob(f"--to: found {str(to)!r}; allowed: a folder of this machine")
    step = Steps(time.monotonic())
    with _compiling():
        step("fetching the small DINOv2, or checking what the cache has")
        from pipeline.weights.fetch import fetch_weights

        weights = fetch_weights("dinov2-small")
        step("starting Ray; compiling meanwhile")
        job = demo_job(to, str(weights))
        watch = DemoWatch(job, to, step)
        code = label_job(job, show_progress=watch)
    watch.draw_new()  # all of them, where the directory has them from before
    return code


@contextmanager
def _compiling() -> Iterator[None]:
    """Another process fills numba's cache while this one waits for the network and for Ray."""
    compiler = subprocess.Popen([sys.executable, "-m", "m2n2.warm_up"])
    try:
        yield
    finally:
        compiler.terminate()
        compiler.wait()


class Steps:
    """What the demo does now, a line each, with the seconds since it began."""

    def __init__(self, began_s: float) -> None:
        self._began_s = began_s

    def __call__(self, text: str) -> None:
        """Say a line."""
        say(f"{time.monotonic() - self._began_s:6.1f} s  {text}")


class DemoWatch:
    """Says what the run waits for, draws every photo once it has its part, and all of them in the end."""

    def __init__(self, job: Job, directory: Path, step: Steps) -> None:
        self._store, self._directory, self._step = job.output_store, directory, step
        self._began = self._ready = self._complete = False
        self._pictures: dict[str, Any] = {}
        self._drawn: set[int] = set()

    def __call__(self, snapshot: Snapshot) -> None:
        """Take in how far the run is."""
        if not self._began:
            self._began = True
            self._step("Ray runs; waiting for the worker to load the model")
        if snapshot.workers and not self._ready:
            self._ready = True
            self._step(f"the worker is ready; labelling {snapshot.images_total} photos")
        self.draw_new()

    def draw_new(self) -> None:
        """Draw the photos that have got their parts since the last time."""
        from jobs.demo_photos import draw_masks, side_by_side
        from pipeline.parts import finished_shards, read_part
        from pipeline.plan import load_plan

        plan = load_plan(self._store)
        if plan is None:
            return
        for shard in sorted(finished_shards(self._store, plan) - self._drawn):
            self._drawn.add(shard)
            rows = read_part(self._store, plan, shard).to_pylist()
            for name in sorted({row["image"] for row in rows}):
                masks = [row["rle"] for row in rows if row["image"] == name and row["rle"]]
                self._pictures[name] = draw_masks(name, masks)
                target = self._directory / Path(name).with_suffix(".jpg").name
                self._pictures[name].save(target, quality=88)
                self._step(f"{len(self._pictures)}/{plan.images}  {target}")
        if len(self._pictures) == plan.images and not self._complete:
            self._complete = True
            sheet = self._directory / "overlay.jpg"
            side_by_side([self._pictures[name] for name in sorted(self._pictures)], sheet)
            self._step(f"all masks: {sheet}")


def demo_job(directory: Path, weights: str) -> Job:
    """Write the clicks below `directory`; returns the job that labels them."""
    from jobs.demo_photos import photos, write_clicks
    from pipeline.config import parse_job

    directory.mkdir(parents=True, exist_ok=True)
    write_clicks(directory / "clicks.parquet")
    document = {
        "images": str(photos()),
        "clicks": str(directory / "clicks.parquet"),
        "output": str(directory / "labels"),
        "backbone": {"name": "dinov2", "weights": weights, "grid": GRID},
        "workers": {"count": 1, "gpus": 0, "cpus": 2},
        "shard_images": 1,  # every photo is there to look at once it is labelled
    }
    return parse_job(document, "demo")
