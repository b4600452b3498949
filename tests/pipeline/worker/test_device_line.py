"""The line of images through a device: what goes on beside what, with the rows of one image at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from m2n2.backbones.batches import Batches, find_batches
from m2n2.backbones.colour import Colour
from m2n2.backbones.reading import NetworkInput, Reader
from m2n2.settings import Settings
from pipeline.clicks import ObjectClicks
from pipeline.config import Job, parse_job
from pipeline.parts import Row
from pipeline.plan import PlanHead
from pipeline.shards.shard_file import ImageClicks
from pipeline.worker.device import DeviceFailed
from pipeline.worker.device_line import DeviceLine, Stage
from pipeline.worker.prefetch import Fetched, Prefetch
from tests.pipeline.make_data import click_rows, encode, picture

PLAN = PlanHead("", "", {"score_version": 2, "calibration": None}, ("clicks.parquet",), "")
IMAGES = 7
PATIENCE_S = 60.0  # of a test that would otherwise hang for ever; nothing takes as long


class OwnBackbone:
    """Somebody's own: it knows no halves."""

    device = torch.device("cpu")

    def attention(self, image: np.ndarray) -> torch.Tensor:
        return Colour(grid=12).attention(image)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return parse_job({"images": str(tmp_path), "clicks": "c.parquet", "output": str(tmp_path / "labels")}, "test")


def shard(job: Job, count: int = IMAGES) -> list[ImageClicks]:
    """Photos of the two discs, each a little larger than the one before."""
    images = []
    for number in range(count):
        name = f"{number}.png"
        job.image_store.put(name, encode(picture(96 + 4 * number, 72)))
        rows = click_rows(name)
        objects = [ObjectClicks(name, row["object"], row["category"], [row], None) for row in rows]
        images.append(ImageClicks(name, tuple(objects)))
    return images


@contextmanager
def ready(images: Sequence[ImageClicks], job: Job, reader: Reader) -> Iterator[Prefetch]:
    """All images of it are ready."""
    with Prefetch(images, job, 10**8, reader=reader) as prefetch:
        wait_until(lambda: prefetch._ready.qsize() == len(images))
        yield prefetch


def wait_until(condition: Any) -> None:
    ticker = threading.Event()
    for _ in range(int(PATIENCE_S / 0.01)):
        if condition():
            return
        ticker.wait(0.01)
    pytest.fail("it did not come")


def nothing(stage: Stage, images: Sequence[Fetched]) -> AbstractContextManager[None]:
    return nullcontext()


def label(
    job: Job,
    reader: Reader,
    refiners: int = 2,
    around: Any = nothing,
    device: Any = None,
    batches: Batches | None = None,
) -> list[Row]:
    with ThreadPoolExecutor(refiners) as pool, ready(shard(job), job, reader) as prefetch:
        line = DeviceLine(job, PLAN, reader, pool, refiners, batches)
        done = list(line.label(prefetch, device or nullcontext(), around))
    assert sorted(each.fetched.clicks.image for each in done) == [f"{number}.png" for number in range(IMAGES)]
    return sorted((row for each in done for row in each.rows), key=lambda row: (row["image"], row["object"]))


def without_seconds(rows: Sequence[Row]) -> list[Row]:
    return [{**row, "seconds": 0.0} for row in rows]  # type: ignore[typeddict-item]


def test_rows_are_those_of_one_image_at_a_time_and_of_a_backbone_without_halves(job: Job) -> None:
    rows = label(job, Reader(Colour(grid=12), Settings()))
    assert len(rows) == 2 * IMAGES
    assert all(row["area"] > 50 for row in rows)
    assert without_seconds(rows) == without_seconds(label(job, Reader(OwnBackbone(), Settings()), refiners=1))


def test_the_next_image_is_on_its_way_before_the_network_runs(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader(Colour(grid=12), Settings())
    log: list[str] = []
    begin, read = reader.begin, reader.read

    def noted_begin(resized: Sequence[np.ndarray]) -> NetworkInput:
        log.append("sent")
        return begin(resized)

    def noted_read(sent: NetworkInput) -> Sequence[torch.Tensor]:
        log.append("network")
        return read(sent)

    monkeypatch.setattr(reader, "begin", noted_begin)
    monkeypatch.setattr(reader, "read", noted_read)
    label(job, reader)
    assert log == ["sent", *["sent", "network"] * (IMAGES - 1), "network"]


def test_an_image_is_resized_where_it_is_decoded(job: Job) -> None:
    reader = Reader(Colour(grid=12), Settings())
    with ready(shard(job), job, reader) as prefetch:
        for fetched in prefetch:
            assert fetched.resized is not None
            assert fetched.pixels is not None
            assert np.array_equal(fetched.resized, reader.resized(fetched.pixels))
            assert fetched.held_bytes == fetched.pixels.nbytes + 3 * 12 * 12


def test_masks_are_made_while_the_next_image_has_the_device(job: Job) -> None:
    began = [threading.Event() for _ in range(IMAGES + 1)]
    number = iter(range(IMAGES))
    place: dict[str, int] = {}

    @contextmanager
    def around(stage: Stage, images: Sequence[Fetched]) -> Iterator[None]:
        [image] = images
        if stage == "device":
            place[image.clicks.image] = next(number)
            began[place[image.clicks.image]].set()
        elif place[image.clicks.image] < IMAGES - 1:
            assert began[place[image.clicks.image] + 1].wait(PATIENCE_S), "the next image waited for these masks"
        yield

    label(job, Reader(Colour(grid=12), Settings()), around=around)


def test_the_device_waits_for_masks_where_too_many_are_unfinished(job: Job) -> None:
    unfinished, most = set[str](), 0

    @contextmanager
    def around(stage: Stage, images: Sequence[Fetched]) -> Iterator[None]:
        nonlocal most
        if stage == "device":
            most = max(most, len(unfinished))
            unfinished.update(image.clicks.image for image in images)
        yield
        if stage == "masks":
            unfinished.difference_update(image.clicks.image for image in images)

    label(job, Reader(Colour(grid=12), Settings()), refiners=2, around=around)
    assert most <= 2


def test_the_last_masks_do_not_keep_the_device_from_the_next_shard(job: Job) -> None:
    free = threading.Event()

    @contextmanager
    def device() -> Iterator[None]:
        yield
        free.set()

    @contextmanager
    def around(stage: Stage, images: Sequence[Fetched]) -> Iterator[None]:
        name = images[0].clicks.image
        if stage == "device":
            order.append(name)
        elif order.index(name) == IMAGES - 1:
            assert free.wait(PATIENCE_S), "the device was kept"
        yield

    order: list[str] = []
    label(job, Reader(Colour(grid=12), Settings()), around=around, device=device())


def test_an_image_that_the_network_cannot_do_fails_alone(job: Job) -> None:
    class Refuses(OwnBackbone):
        def attention(self, image: np.ndarray) -> torch.Tensor:
            if image.shape[1] == 100:
                raise RuntimeError("no such width")
            return super().attention(image)

    rows = label(job, Reader(Refuses(), Settings()))
    assert {row["image"] for row in rows if "error" in row} == {"1.png"}


class CannotSend(Reader):
    """Whose upload fails for the second photo."""

    def __init__(self, fault: Exception) -> None:
        super().__init__(Colour(grid=12), Settings())
        self.fault = fault

    def resized(self, image: np.ndarray) -> np.ndarray:
        resized = super().resized(image)
        resized[0, 0] = image.shape[1]  # to know it again
        return resized

    def begin(self, resized: Sequence[np.ndarray]) -> NetworkInput:
        if any(image[0, 0, 0] == 100 for image in resized):
            raise self.fault
        return super().begin(resized)


def test_an_image_that_cannot_be_sent_to_the_device_fails_alone(job: Job) -> None:
    rows = label(job, CannotSend(RuntimeError("no such copy")))
    assert {row["image"] for row in rows if "error" in row} == {"1.png"}


def test_a_device_that_fails_when_it_is_sent_an_image_is_the_devices_fault(job: Job) -> None:
    with pytest.raises(DeviceFailed, match="CUDA error"):
        label(job, CannotSend(RuntimeError("CUDA error: an illegal memory access was encountered")))


class Counted(Colour):
    """Colour, which notes how many images each call has, and may not be able to do them."""

    def __init__(self, fault: Exception | None = None) -> None:
        super().__init__(grid=12)
        self.calls, self.fault = list[int](), fault

    def attention_of(self, pixels: torch.Tensor) -> torch.Tensor:
        self.calls.append(len(pixels))
        if self.fault is not None and len(pixels) > 1:
            raise self.fault
        return super().attention_of(pixels)


def test_images_that_share_a_call_get_the_rows_that_they_get_alone(job: Job) -> None:
    network = Counted()
    reader = Reader(network, Settings())
    batches = find_batches(reader, 4)
    network.calls.clear()
    rows = label(job, reader, batches=batches)
    assert network.calls == [4, 2, 1]
    assert without_seconds(rows) == without_seconds(label(job, Reader(Colour(grid=12), Settings())))


@pytest.mark.parametrize(
    ("fault", "calls"),
    [
        (RuntimeError("one of them is too much"), [*[2, 1, 1] * 3, 1]),
        (torch.OutOfMemoryError("CUDA out of memory"), [*[2, 1, 1] * 2, 1, 1, 1]),  # two pairs were on their way
    ],
    ids=["an image's fault", "memory"],
)
def test_a_call_that_fails_is_made_image_by_image(job: Job, fault: Exception, calls: list[int]) -> None:
    network = Counted(fault)
    rows = label(job, Reader(network, Settings()), batches=Batches((1, 2), (12, 12, 3)))
    assert network.calls == calls
    assert without_seconds(rows) == without_seconds(label(job, Reader(Colour(grid=12), Settings())))
