"""Fetching ahead: bounded by bytes, never waiting for another shard, and raising what is not an image's fault."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.clicks import ObjectClicks
from pipeline.config import Job, parse_job
from pipeline.shards.shard_file import ImageClicks
from pipeline.storage.retry import StoreUnavailable
from pipeline.worker import prefetch as prefetch_module
from pipeline.worker.prefetch import Prefetch

WIDTH, HEIGHT = 30, 20
IMAGE_BYTES = 3 * WIDTH * HEIGHT


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return parse_job({"images": str(tmp_path), "clicks": "c.parquet", "output": str(tmp_path / "labels")}, "test")


def shard(job: Job, name: str, count: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> list[ImageClicks]:
    """A shard of `count` images, written below the job's images root."""
    images = []
    for number in range(count):
        sink = io.BytesIO()
        Image.new("RGB", size, "red").save(sink, "PNG")
        job.image_store.put(f"{name}-{number}.png", sink.getvalue())
        clicks = ObjectClicks(f"{name}-{number}.png", "0", "object", [], None)
        images.append(ImageClicks(clicks.image, (clicks,)))
    return images


def names(images: Sequence[ImageClicks]) -> set[str]:
    return {image.image for image in images}


def test_no_more_is_decoded_than_may_wait(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = 0
    original = prefetch_module.decode_image

    def counted(data: bytes, name: str, orientation: str) -> np.ndarray:
        nonlocal decoded
        decoded += 1
        return original(data, name, orientation)  # type: ignore[arg-type]

    monkeypatch.setattr(prefetch_module, "decode_image", counted)
    images = shard(job, "a", count=40)
    with Prefetch(images, job, max_bytes=3 * IMAGE_BYTES) as prefetch:
        for consumed, _ in enumerate(prefetch, start=1):
            assert decoded <= consumed + 3
    assert decoded == 40


def test_an_image_larger_than_the_budget_comes_alone(job: Job) -> None:
    images = shard(job, "a", count=5)
    with Prefetch(images, job, max_bytes=IMAGE_BYTES // 2) as prefetch:
        assert names([fetched.clicks for fetched in prefetch]) == names(images)


def test_the_shard_that_waits_for_the_device_does_not_hold_up_the_one_that_has_it(job: Job) -> None:
    waiting, running = shard(job, "waiting", count=30), shard(job, "running", count=30)
    with (
        Prefetch(waiting, job, max_bytes=IMAGE_BYTES) as first,
        Prefetch(running, job, max_bytes=IMAGE_BYTES) as second,
    ):
        assert names([fetched.clicks for fetched in second]) == names(running)
        assert names([fetched.clicks for fetched in first]) == names(waiting)


def test_an_outage_is_raised_and_a_bad_image_is_not(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    images = shard(job, "a", count=3)
    (Path(job.images) / "a-1.png").write_bytes(b"no image")
    with Prefetch(images, job, max_bytes=10**6) as prefetch:
        failures = {fetched.clicks.image: fetched.failure for fetched in prefetch}
    assert [name for name, failure in failures.items() if failure] == ["a-1.png"]

    def unavailable(*_: object) -> bytes:
        raise StoreUnavailable("down")

    monkeypatch.setattr(prefetch_module, "fetch_image", unavailable)
    with pytest.raises(StoreUnavailable), Prefetch(images, job, max_bytes=10**6) as prefetch:
        list(prefetch)
