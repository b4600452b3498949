"""What images take of the CPU beside a GPU, and how many CPUs a worker gets for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.config import Job, Limits, parse_job
from pipeline.containers.source import ImageSource
from pipeline.parts import Size
from pipeline.plan import find_or_make_plan
from pipeline.storage.refusals import UnusableStorage
from pipeline.storage.retry import KeyUnavailable
from pipeline.storage.store import Store
from pipeline.worker.cores import Cores, cores_beside_gpu, cores_of_plan
from pipeline.worker.image_size import read_size
from tests.pipeline.containers.contained_photos import TarPhotos
from tests.pipeline.make_data import put_dataset

MEGAPIXEL = 1_000_000


def job_of(**changes: Any) -> Job:
    return parse_job({"images": "photos/", "clicks": "clicks/", "output": "labels/"} | changes, "job")


def cores_of(job: Job, pixels: int = MEGAPIXEL, clicks: float = 40, objects: float = 5) -> Cores:
    found = cores_beside_gpu(job, pixels, clicks, objects)
    assert found is not None
    return found


def needs(found: Cores) -> list[int]:
    return [need.cores for need in found.needs]


def test_a_faster_card_needs_more_cores() -> None:
    a100, h100, l4 = needs(cores_of(job_of()))
    assert h100 > a100 > l4 > 1


def test_more_clicks_and_larger_photos_take_more_of_the_cpu() -> None:
    usual = cores_of(job_of()).core_seconds
    assert cores_of(job_of(), clicks=80).core_seconds > usual
    large = cores_of(job_of(), pixels=12 * MEGAPIXEL).core_seconds
    assert usual < large < 12 * usual, "clicks are refined at the working size"


def test_half_a_gpu_needs_half_of_what_is_beside_its_driving() -> None:
    whole, half = (needs(cores_of(job_of(workers={"gpus": gpus}))) for gpus in (1, 0.5))
    assert [2 * (cores - 1) for cores in half] == pytest.approx([cores - 1 for cores in whole], abs=2)


def test_what_a_job_gives_is_held_against_what_each_card_needs() -> None:
    found = cores_of(job_of(workers={"cpus": 1}))
    assert [need.card for need in found.short] == [need.card for need in found.needs]
    between = needs(found)[0]
    assert [need.card for need in cores_of(job_of(workers={"cpus": between})).short] == ["H100 SXM"]
    assert cores_of(job_of(workers={"cpus": 256})).short == ()
    assert cores_of(job_of(workers={"cpus": "auto"})).short == ()


@pytest.mark.parametrize(
    "changes",
    [{"workers": {"gpus": 0}}, {"backbone": {"name": "dinov2"}}, {"backbone": {"name": "sd2", "device": "cpu"}}],
)
def test_nothing_is_said_where_no_gpu_is_asked_or_no_rate_was_reckoned(changes: dict[str, Any]) -> None:
    assert cores_beside_gpu(job_of(**changes), MEGAPIXEL, 40, 5) is None


def test_what_a_plans_images_take_is_seen_by_a_look_at_some(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    planned = parse_job(put_dataset(store, images=40), "job")  # of 96 x 72 pixels, two objects of one click
    plan = find_or_make_plan(planned)
    job = planned.model_copy(update={"backbone": job_of().backbone, "workers": job_of().workers})
    assert cores_of_plan(job, plan) == cores_beside_gpu(job, 96 * 72, 2, 2)
    for image in range(1, 40):
        (tmp_path / "photos" / f"{image:04d}.png").unlink()
    assert cores_of_plan(job, plan) == cores_beside_gpu(job, 96 * 72, 2, 2)
    (tmp_path / "photos" / "0000.png").write_bytes(b"no image")
    assert cores_of_plan(job, plan) is None
    assert cores_of_plan(planned, plan) is None


@pytest.mark.parametrize("error", [KeyUnavailable("503"), UnusableStorage("no such profile")])
def test_an_image_whose_storage_fails_is_not_known_and_ends_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    planned = parse_job(put_dataset(Store(str(tmp_path)), images=8), "job")
    plan = find_or_make_plan(planned)
    job = planned.model_copy(update={"backbone": job_of().backbone, "workers": job_of().workers})
    known = cores_of_plan(job, plan)

    def fails_for_one(source: ImageSource, key: str, limits: Limits) -> Size:
        if key == "0000.png":
            raise error
        return read_size(source, key, limits)

    def fails(source: ImageSource, key: str, limits: Limits) -> Size:
        raise error

    monkeypatch.setattr("pipeline.worker.cores.read_size", fails_for_one)
    assert cores_of_plan(job, plan) == known is not None
    monkeypatch.setattr("pipeline.worker.cores.read_size", fails)
    assert cores_of_plan(job, plan) is None


def test_what_is_found_out_about_containers_is_kept_for_the_workers(tmp_path: Path) -> None:
    photos = TarPhotos(Store(str(tmp_path)), 8).write()
    document = {"images": photos.images, "clicks": photos.clicks, "output": photos.store.url("labels")}
    planned = parse_job(document | {"backbone": {"name": "colour"}}, "job")
    plan = find_or_make_plan(planned)
    job = planned.model_copy(update={"backbone": job_of().backbone})
    assert not list(job.output_store.listing("plan/containers"))
    assert cores_of_plan(job, plan) is not None
    assert list(job.output_store.listing("plan/containers"))
