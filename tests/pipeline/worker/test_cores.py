"""What images take of the CPU beside a GPU, and how many CPUs a worker gets for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.config import Job, parse_job
from pipeline.plan import find_or_make_plan
from pipeline.storage.store import Store
from pipeline.worker.cores import Cores, cores_beside_gpu, cores_of_plan
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
