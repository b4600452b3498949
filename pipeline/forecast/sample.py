"""A look at some of a job's images: how large they are, which cannot be used, and which clicks fall beside them."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pipeline.config import Job
from pipeline.failure import BadImage, Failure
from pipeline.parts import Size
from pipeline.shards.shard_file import ImageClicks
from pipeline.worker.clicks_on_image import placed_on
from pipeline.worker.images import decode_image, decoded_bytes, fetch_image

AT_ONCE = 4
EXAMPLES = 3


@dataclass(frozen=True)
class Sample:
    """What some of the images are like.

    Attributes:
        images: how many were looked at.
        width, height: in pixels: smallest, median, largest; None where none of the images can be used.
        median_bytes: of the files.
        failed_images: images that cannot be used, by reason such as image_missing.
        clicks_outside: objects with a click outside their image.
        examples: some of what is wrong, a line each.
    """

    images: int
    width: tuple[int, int, int] | None
    height: tuple[int, int, int] | None
    median_bytes: int
    failed_images: dict[str, int]
    clicks_outside: int
    examples: Sequence[str]


@dataclass(frozen=True)
class _Look:
    size: tuple[int, int, int] | None  # width, height, bytes
    image_failure: Failure | None
    outside: Sequence[Failure]


def look_at(job: Job, images: Sequence[ImageClicks], files: Sequence[str]) -> Sample:
    """Fetch and decode these images. Raises StoreUnavailable."""
    with ThreadPoolExecutor(AT_ONCE) as threads:
        looks = list(threads.map(lambda image: _look(job, image, files), images))
    sizes = [look.size for look in looks if look.size]
    bad = [look.image_failure for look in looks if look.image_failure]
    outside = [failure for look in looks for failure in look.outside]
    return Sample(
        images=len(looks),
        width=_spread([size[0] for size in sizes]),
        height=_spread([size[1] for size in sizes]),
        median_bytes=round(statistics.median([size[2] for size in sizes])) if sizes else 0,
        failed_images=dict(Counter(failure.reason for failure in bad).most_common()),
        clicks_outside=len(outside),
        examples=[failure.message for failure in [*bad[:EXAMPLES], *outside[:EXAMPLES]]],
    )


def _look(job: Job, image: ImageClicks, files: Sequence[str]) -> _Look:
    outside_root = next((each.failure for each in image.objects if _is_about_the_key(each.failure)), None)
    if outside_root:
        return _Look(None, outside_root, [])
    try:
        data = fetch_image(job.image_source_for_a_look, image.image, job.limits)
        decoded_bytes(data, image.image, job.limits)
        height, width = decode_image(data, image.image, job.orientation).shape[:2]
    except BadImage as error:
        return _Look(None, error.failure, [])
    size = Size(width=width, height=height)
    margin = job.settings.box_margin
    found = (placed_on(each, size, files, box_margin=margin).failure for each in image.objects if each.failure is None)
    return _Look((width, height, len(data)), None, [failure for failure in found if failure])


def _is_about_the_key(failure: Failure | None) -> bool:
    return failure is not None and failure.reason == "image_outside_root"


def _spread(values: Sequence[int]) -> tuple[int, int, int] | None:
    return (min(values), round(statistics.median(values)), max(values)) if values else None
