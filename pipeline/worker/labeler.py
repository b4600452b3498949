"""The Ray actor: one device, one model, a shard at a time.

Two calls of `label` may be under way at once: while one has the device, the other fetches and decodes its first images,
or makes its last masks.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import ray

from pipeline.config import Job
from pipeline.interventions import skipped_images, without_skipped
from pipeline.parts import Row, Size, commit_part, committed_reasons
from pipeline.plan import PlanHead, PlanReference, load_head, read_images
from pipeline.shards.shard_table import Shard
from pipeline.tasks import Doubt, Place, Progress, SlowImage, Task, TaskReport
from pipeline.worker.clicks_on_image import doubts_about
from pipeline.worker.device_line import DeviceLine, Stage, refined_at_once
from pipeline.worker.metrics import StorageMetrics, WorkerMetrics
from pipeline.worker.model import load_model
from pipeline.worker.prefetch import Fetched, Prefetch
from pipeline.worker.work import WorkUnderWay, image_size

if TYPE_CHECKING:
    from m2n2.backbones.batches import Batches
    from m2n2.backbones.reading import Reader

SLOWEST_OF_A_TASK = 5
STAGES = ("fetch", "decode", "attention and maps", "masks", "write")
OLD_WORKER_EXIT_S = 60.0
LOOK_EVERY_S = 0.5

log = logging.getLogger("m2n2.labeler")


class Labeler:
    """Loads the model once, then labels shards. Made an actor, replaced and fed by pipeline/driver/workers/fleet.py."""

    def __init__(self, job: Job, plan: PlanReference) -> None:
        self._job, self._reference, self._store = job, plan, job.output_store
        self._device = threading.Lock()
        self._under_way: dict[Task, float] = {}  # whose rows are not complete, and when they got the device
        self._progress = Progress()
        self._work = WorkUnderWay()
        # Beside the one pool of the kernels: no more of these than cores that the job gives a worker.
        refiners = max(1, min(refined_at_once(job.workers.cores), int(job.workers.cores)))
        self._refiners = ThreadPoolExecutor(refiners, thread_name_prefix="refine")
        self._storage_metrics = StorageMetrics()
        self._plan: PlanHead
        self._reader: Reader
        self._line: DeviceLine

    @ray.method(concurrency_group="control")
    def place(self) -> Place:
        """Answers as soon as Ray has found room for the actor."""
        context = ray.get_runtime_context()
        gpus = ",".join(context.get_accelerator_ids().get("GPU", []))
        return Place(context.get_node_id(), os.uname().nodename, os.getpid(), _log_files(), gpus)

    @ray.method(concurrency_group="device")
    def load(self, old_pids: Sequence[int]) -> dict[str, Any]:
        """Load the head of the plan, load the model and check it, once the dead workers of this node have freed memory.

        Args:
            old_pids: these workers.

        Returns:
            What the self-check says: device, dtype, memory, seconds.

        Raises:
            PlanDamaged: the plan is gone, or another one stands there now.
        """
        _wait_for_exit(old_pids)
        self._job.image_source.check()
        self._store.check()
        self._plan = load_head(self._store, self._reference)
        from m2n2.backbones.check import check_backbone
        from m2n2.backbones.reading import Reader
        from m2n2.warm_up import warm_up

        backbone = load_model(self._job)
        self._reader = Reader(backbone, self._job.settings)
        batches = self._batches()
        unfinished = refined_at_once(self._job.workers.cores)
        self._line = DeviceLine(self._job, self._plan, self._reader, self._refiners, unfinished, batches)
        self._metrics = WorkerMetrics()
        warm_up(self._job.settings)  # in the first image's time it would count as that image's
        return asdict(check_backbone(backbone, self._job.backbone.dtype))

    def _batches(self) -> Batches | None:
        """Which images may share a call of the network; says so where that is not what the job asks for."""
        asked = self._job.backbone.batch
        if asked == 1:
            return None
        from m2n2.backbones.batches import ASKED, find_batches, memory_of

        device = self._reader.backbone.device
        found = find_batches(self._reader, None if asked == "auto" else asked, memory_of(device))
        level = logging.INFO if found.reason == ASKED else logging.WARNING
        log.log(
            level, "backbone.batch %s: %d images a call on %s, no more: %s", asked, found.largest, device, found.reason
        )
        return found

    @ray.method(concurrency_group="device")
    def label(self, task: Task, shard: Shard) -> TaskReport:
        """Label a shard and commit its part, or label a piece of it and return the rows.

        `shard` is what the plan knows of the task's shard: what stands in it is fetched, and held against its digest.

        A shard that has its part by now, from another driver or from before an answer was lost, is not labelled again.

        Raises:
            StoreUnavailable: storage did not answer; nothing was committed and the task can be given again.
            PlanDamaged, ForeignPart: the output is not in order; the run has to stop.
        """
        if task.whole and (reasons := committed_reasons(self._store, self._plan, task.shard)) is not None:
            return TaskReport(task, shard.images, reasons.total(), _failed_only(reasons), 0.0, None)
        skipped = skipped_images(self._store)
        planned = read_images(self._store, self._plan, shard)[task.first : task.stop]
        images = [without_skipped(image, skipped) for image in planned]
        budget, decoding = self._job.limits.prefetch_bytes // 2, partial(self._work.image_of, task)
        doubts, stages = Counter[Doubt | None](), dict.fromkeys(STAGES, 0.0)
        try:
            with Prefetch(images, self._job, budget, decoding, self._reader) as prefetch:
                rows = self._label_all(prefetch, task, doubts, stages)
        finally:
            started = self._under_way.pop(task, time.monotonic())
        began_to_write = time.monotonic()
        if task.whole:
            commit_part(self._store, self._plan, task.shard, images, rows)
        stages["write"] = time.monotonic() - began_to_write
        self._metrics.task_done(stages)
        reasons = Counter(row["error"]["reason"] if "error" in row else None for row in rows)
        return TaskReport(
            *(task, len(images), len(rows), _failed_only(reasons), time.monotonic() - started),
            rows=None if task.whole else rows,
            doubts={doubt: number for doubt, number in doubts.items() if doubt is not None},
            looked_at=doubts[None],
            stages=stages,
            host=os.uname().nodename,
            seconds_of_images=sum(row["seconds"] for row in rows),
            slowest=_slowest(rows),
        )

    @ray.method(concurrency_group="control")
    def progress(self, within_s: float = 0.0) -> Progress:
        """Answers after so many seconds, or at once where an image is over its time.

        Also while the device works, or storage does not answer.
        """
        until_s, image_timeout_s = time.monotonic() + within_s, self._job.limits.image_timeout_s
        while (left_s := until_s - time.monotonic()) > 0 and not self._work.is_over_time(image_timeout_s):
            time.sleep(min(LOOK_EVERY_S, left_s))
        self._storage_metrics.update()
        slowest, slowest_s, size = self._work.longest()
        running = next(iter(list(self._under_way)), None)  # other threads change it meanwhile
        return replace(self._progress, running=running, slowest=slowest, slowest_s=slowest_s, slowest_size=size)

    def _label_all(
        self, prefetch: Prefetch, task: Task, doubts: Counter[Doubt | None], stages: dict[str, float]
    ) -> list[Row]:
        rows: list[Row] = []

        def around(stage: Stage, images: Sequence[Fetched]) -> AbstractContextManager[None]:
            return self._work.images_of(task, [_size(each) for each in images])

        with closing(self._line.label(prefetch, self._device_for(task), around)) as labelled:
            for image in labelled:
                doubts.update(self._doubts_about(image.fetched))
                stages["fetch"] += image.fetched.fetch_s
                stages["decode"] += image.fetched.decode_s
                stages["attention and maps"] += image.device_s
                self._image_done(image.rows)
                rows += image.rows
        # An image's seconds, which its objects share, are those of the device and those of its masks.
        stages["masks"] = max(0.0, sum(row["seconds"] for row in rows) - stages["attention and maps"])
        return rows

    @contextmanager
    def _device_for(self, task: Task) -> Iterator[None]:
        with self._device:
            self._under_way[task] = time.monotonic()
            yield

    def _doubts_about(self, fetched: Fetched) -> list[Doubt | None]:
        """What looks wrong about the image and its clicks, and None for having looked."""
        if fetched.pixels is None:
            return []
        size = Size(width=fetched.pixels.shape[1], height=fetched.pixels.shape[0])
        return [None, *doubts_about(fetched.clicks.objects, size, fetched.exif_orientation)]

    def _image_done(self, rows: Sequence[Row]) -> None:
        self._progress.images += 1
        self._progress.objects += len(rows)
        self._progress.failed += sum("error" in row for row in rows)
        self._metrics.image_done(rows)


def _size(fetched: Fetched) -> float:
    pixels = 0 if fetched.pixels is None else fetched.pixels[..., 0].size
    return image_size(len(fetched.clicks.objects), pixels)


def _slowest(rows: Sequence[Row]) -> tuple[SlowImage, ...]:
    seconds, objects = Counter[str](), Counter(row["image"] for row in rows)
    for row in rows:
        seconds[row["image"]] += row["seconds"]
    host = os.uname().nodename
    return tuple(
        SlowImage(image, round(total, 3), objects[image], host)
        for image, total in seconds.most_common(SLOWEST_OF_A_TASK)
    )


def _failed_only(reasons: Counter[str | None]) -> dict[str, int]:
    return {reason: number for reason, number in reasons.items() if reason is not None}


def _log_files() -> tuple[str, ...]:
    """Where Ray has sent the standard output and errors of this process."""
    return tuple(os.readlink(f"/proc/self/fd/{number}") for number in (1, 2))


def _wait_for_exit(pids: Sequence[int]) -> None:
    give_up_at = time.monotonic() + OLD_WORKER_EXIT_S
    while any(os.path.exists(f"/proc/{pid}") for pid in pids) and time.monotonic() < give_up_at:
        time.sleep(0.2)
