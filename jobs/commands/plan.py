"""`m2n2 plan`: what a run would do and how long it would take, without doing it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.commands.options import Overrides
from jobs.console import duration, say
from jobs.exit_codes import BAD_INPUT, COMPLETE

if TYPE_CHECKING:
    from pipeline.config import Job
    from pipeline.forecast.forecast import Forecast
    from pipeline.forecast.sample import Sample
    from pipeline.worker.cores import Cores

CATEGORIES_SHOWN = 8


def plan(
    job: Annotated[str, typer.Argument(metavar="JOB.yaml")],
    overrides: Overrides = None,
    sample: Annotated[int, typer.Option(min=0, help="how many images to fetch and look at")] = 32,
    as_json: Annotated[bool, typer.Option("--json", help="everything as one JSON object")] = False,
) -> int:
    """Say what a run would do, without doing it: counts, a look at some images, how long it would take.

    Nothing is written. It ends with 2 where `m2n2 label` would refuse the job.

    Example: m2n2 plan job.yaml backbone.grid=64 --sample 100
    """
    from pipeline.config import load_job
    from pipeline.forecast.forecast import forecast

    checked = load_job(job, overrides or [])
    found = forecast(checked, sample)
    say(json.dumps(asdict(found)) if as_json else "\n".join(_lines(checked, found)))
    return BAD_INPUT if found.standing.differences else COMPLETE


def _lines(job: Job, found: Forecast) -> Iterator[str]:
    counts, standing = found.counts, found.standing
    yield f"images    {counts.images:,} with clicks, below {job.images}"
    yield f"objects   {counts.objects:,}, {_clicks(*counts.clicks_an_object)}"
    yield f"category  {_numbers(dict(list(counts.categories.items())[:CATEGORIES_SHOWN]))}"
    if (more := len(counts.categories) - CATEGORIES_SHOWN) > 0:
        yield f"          and {more} more"
    if counts.failed:
        yield f"bad       {sum(counts.failed.values()):,} objects fail by their clicks: {_numbers(counts.failed)}"
    yield f"shards    {standing.shards:,} of at most {found.images_a_shard} images"
    if standing.differences:
        yield f"output    {job.output} belongs to another job; `m2n2 label` would refuse it:"
        yield from (f"          {difference}" for difference in standing.differences)
    else:
        there = f"{standing.shards_done:,} shards are done, {standing.images_left:,} images are left"
        yield f"output    {job.output}: {there if standing.shards_done else 'nothing is done yet'}"
    yield from _sample_lines(found.sample)
    yield from _time_lines(found)
    if found.cores is not None:
        yield from _core_lines(found.cores)
    elif job.workers.cpus == "auto":
        from pipeline.worker.cores import NOTHING_RECKONED

        yield f"cores     workers.cpus is auto: {job.workers.cores:g}, {NOTHING_RECKONED}"


def _sample_lines(sample: Sample) -> Iterator[str]:
    if sample.width and sample.height:
        size = f"{_spread(sample.width)} wide, {_spread(sample.height)} high, {_size(sample.median_bytes)}"
        yield f"sample    {sample.images} images: {size}"
    else:
        yield f"sample    {sample.images} images, none of them usable"
    if sample.failed_images:
        yield f"          cannot be used: {_numbers(sample.failed_images)}"
    if sample.clicks_outside:
        yield f"          objects with a click outside their image: {sample.clicks_outside}"
    yield from (f"          {example}" for example in sample.examples)


def _time_lines(found: Forecast) -> Iterator[str]:
    rate = found.rate
    if rate is None or found.seconds is None:
        yield "time      unknown: no run of this backbone, grid and device was measured yet; label some images first"
        return
    number = found.workers or 1
    setup = ", ".join(f"{key} {value}" for key, value in rate.setup.items())
    yield f"time      {duration(found.seconds)} with {number} worker{'s' * (number > 1)}, besides their start"
    if found.workers is None:
        yield "          workers.count is auto: divide by how many the cluster has"
    yield f"rate      {number * rate.images_per_s:.3g} images/s, {found.gpu_hours:.3g} GPU hours"
    yield f"          as {rate.output} measured over {rate.images} images on {rate.host}, {rate.at} ({setup})"


def _core_lines(cores: Cores) -> Iterator[str]:
    image = f"{cores.megapixels:g} megapixels, {cores.clicks:g} clicks"
    yield f"cores     {cores.core_seconds:g} core-seconds an image beside the GPU ({image})"
    each = (f"{need.card} {need.cores} for {need.images_per_s:g} images/s" for need in cores.needs)
    yield f"          a worker needs, by rates that are reckoned, never run: {', '.join(each)}"
    if cores.given == "auto":
        yield "          workers.cpus is auto: what the cluster's card needs, at most what a node has for each worker"
    if cores.short:
        cards = ", ".join(need.card for need in cores.short)
        yield f"          workers.cpus is {cores.given:g}: too few for {cards}, which will wait for the CPU"


def _clicks(least: int, mean: float, most: int) -> str:
    return f"{least} to {most} clicks each, {mean:g} on average" if least < most else f"clicks each: {least}"


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"


def _numbers(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in numbers.items())


def _spread(values: tuple[int, int, int]) -> str:
    least, median, most = values
    return f"{least} to {most} (median {median}) px" if least < most else f"{least} px"
