"""What a run would do: everything that its clicks say, a look at some images, and how long it would take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.attempts import all_attempts
from pipeline.config import Job
from pipeline.forecast.rates import Rate, latest_rate
from pipeline.forecast.sample import Sample, look_at
from pipeline.inputs.categories import read_categories, refuse_unknown_categories
from pipeline.inputs.click_files import find_click_files
from pipeline.inputs.click_table import ClickTable
from pipeline.inputs.identity import differences, make_identity
from pipeline.parts import finished_shards
from pipeline.plan import Plan, as_planned, planned_images, shard_size
from pipeline.shards.shard_file import ImageClicks
from pipeline.storage.store import Store
from pipeline.worker.cores import Cores, cores_beside_gpu


@dataclass(frozen=True)
class Counts:
    """What the clicks say.

    Attributes:
        clicks_an_object: fewest, mean, most.
        categories: objects of each, most first.
        failed: objects that fail by their clicks alone, by reason.
    """

    images: int
    objects: int
    clicks: int
    clicks_an_object: tuple[int, float, int]
    categories: dict[str, int]
    failed: dict[str, int]


@dataclass(frozen=True)
class Standing:
    """What stands in the output already; `differences` are why its plan is another job's."""

    shards_done: int
    shards: int
    images_left: int
    differences: Sequence[str]


@dataclass(frozen=True)
class Forecast:
    """What a run would do.

    Attributes:
        workers: as the job says; None where it takes what the cluster has.
        rate: the newest measured one for this backbone and device; None where none is known.
        seconds: of `workers` workers, or of one where their number is not known; without their start.
        gpu_hours: of all workers.
        cores: what the CPU does beside a GPU; None where there is none, or nothing was reckoned for its network.
    """

    counts: Counts
    images_a_shard: int
    standing: Standing
    sample: Sample
    workers: int | None
    rate: Rate | None
    seconds: float | None
    gpu_hours: float | None
    cores: Cores | None


def forecast(job: Job, sample: int) -> Forecast:
    """Read the clicks, look at `sample` images spread over all, and estimate. Nothing is written.

    Raises:
        InvalidClicks, InvalidWeights, InvalidJob: the job cannot be run.
        StoreUnavailable: storage does not answer.
    """
    everywhere = Store("", job.storage)
    files = find_click_files(job.click_patterns, everywhere)
    attempts = all_attempts(job.output_store)
    categories = read_categories(job)
    identity = make_identity(as_planned(job, attempts[0]) if attempts else job, files, categories)
    with ClickTable(files, everywhere, job.images_roots) as table:
        refuse_unknown_categories(job, categories, table)
        images = table.count_images()
        counts, some = _count(job, table, _spread(images, sample))
    size = shard_size(job, images)
    standing = _standing(job, attempts, identity, images, -(-images // size))
    rate = latest_rate(job)
    workers = None if job.workers.count == "auto" else job.workers.count
    worker_seconds = None if rate is None else standing.images_left / rate.images_per_s
    seen = look_at(job, some, [file.key for file in files])
    return Forecast(
        counts=counts,
        images_a_shard=size,
        standing=standing,
        sample=seen,
        workers=workers,
        rate=rate,
        seconds=None if worker_seconds is None else worker_seconds / (workers or 1),
        gpu_hours=None if worker_seconds is None else worker_seconds * job.workers.gpus / 3600,
        cores=_cores(job, counts, seen),
    )


def _cores(job: Job, counts: Counts, seen: Sample) -> Cores | None:
    if seen.width is None or seen.height is None:
        return None
    each = [number / max(1, counts.images) for number in (counts.clicks, counts.objects)]
    return cores_beside_gpu(job, seen.width[1] * seen.height[1], *each)


def _spread(images: int, sample: int) -> set[int]:
    """`sample` positions, evenly among all images."""
    return {number * images // sample for number in range(sample)} if images > sample else set(range(images))


def _count(job: Job, table: ClickTable, positions: set[int]) -> tuple[Counts, list[ImageClicks]]:
    some: list[ImageClicks] = []
    clicks, categories, failed = Counter[int](), Counter[str](), Counter[str]()
    images = 0
    for image in planned_images(job, table):
        if images in positions:
            some.append(image)
        images += 1
        for each in image.objects:
            clicks[len(each.clicks)] += 1
            categories[each.category] += 1
            failed.update([each.failure.reason] if each.failure else [])
    total = sum(number * objects for number, objects in clicks.items())
    spread = (min(clicks), round(total / clicks.total(), 2), max(clicks))
    ordered = dict(categories.most_common()), dict(failed.most_common())
    return Counts(images, clicks.total(), total, spread, *ordered), some


def _standing(job: Job, attempts: Sequence[Plan], identity: dict[str, object], images: int, shards: int) -> Standing:
    if not attempts:
        return Standing(0, shards, images, [])
    done = [finished_shards(job.output_store, plan) for plan in attempts]
    left = sum(
        shard.images
        for plan, finished in zip(attempts, done, strict=True)
        for shard in plan.shards
        if shard.index not in finished
    )
    total = sum(len(plan.shards) for plan in attempts)
    return Standing(sum(map(len, done)), total, left, list(differences(attempts[0].identity, identity)))
