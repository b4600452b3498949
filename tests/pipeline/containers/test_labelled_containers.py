"""A run over containers that dies goes on to the same bytes: labelled in this process, without a Ray."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.config import Job, parse_job
from pipeline.parts import commit_part, error_row, mask_row, read_part
from pipeline.plan import Plan, find_or_make_plan, read_shard
from pipeline.storage.filesystem import Storage
from pipeline.storage.store import Store
from pipeline.worker.prefetch import Prefetch
from tests.pipeline.containers.contained_photos import ContainedPhotos, ParquetPhotos, TarPhotos
from tests.s3_server import S3Server


@pytest.fixture(scope="module", params=[TarPhotos, ParquetPhotos])
def photos(request: pytest.FixtureRequest, s3: S3Server) -> ContainedPhotos:
    kind: type[ContainedPhotos] = request.param
    storage = Storage(endpoint_url=s3.endpoint_url)
    return kind(Store(f"{s3.bucket('containers')}/labelled{kind.suffix}/", storage), 18).write()


def job_on(photos: ContainedPhotos, output: str) -> Job:
    document: dict[str, Any] = {"images": photos.images, "clicks": photos.clicks, "output": photos.store.url(output)}
    document |= {"backbone": {"name": "colour"}, "shard_images": 4}
    return parse_job(document | {"storage": {"endpoint_url": photos.store.storage.endpoint_url}}, "job.yaml")


def label(job: Job, plan: Plan, index: int) -> None:
    """One shard as a worker does it, a mask being what is brighter in red."""
    images, rows = read_shard(job.output_store, plan, index), []
    with Prefetch(images, job, max_bytes=1_000_000) as prefetch:
        for fetched in prefetch:
            for each in fetched.clicks.objects:
                failure = each.failure or fetched.failure
                if failure is not None:
                    rows.append(error_row(each, failure))
                else:
                    assert fetched.pixels is not None
                    rows.append(mask_row(each, fetched.pixels[..., 0] > 100, 0.5, 0.0))
    commit_part(job.output_store, plan, index, images, rows)


def parts(job: Job) -> dict[str, bytes]:
    return {entry.key: job.output_store.read(entry.key) for entry in job.output_store.listing("parts")}


def test_a_run_over_containers_goes_on_to_the_same_bytes(photos: ContainedPhotos) -> None:
    whole, died = job_on(photos, "whole"), job_on(photos, "died")
    plan = find_or_make_plan(whole)
    for shard in plan.shards:
        label(whole, plan, shard.index)
    for index in (0, 3):
        label(died, find_or_make_plan(died), index)
    again = find_or_make_plan(died)
    assert again.fingerprint == plan.fingerprint
    for index in (1, 2, 4):
        label(died, again, index)
    assert parts(died) == parts(whole)
    assert len(list(died.output_store.listing("plan/containers"))) == 3, "an index a container, made once"


def test_a_worker_stays_in_one_container_and_every_object_has_its_mask(photos: ContainedPhotos) -> None:
    job = job_on(photos, "tars")
    plan = find_or_make_plan(job)
    found = [{image.image.split("/")[0] for image in read_shard(job.output_store, plan, at)} for at in range(4)]
    assert found == [{f"shard-{number}{photos.suffix}"} for number in (0, 0, 1, 1)]
    assert json.loads(job.output_store.read("plan/plan.json"))["identity"]["images"] == photos.images
    label(job, plan, 1)
    assert {row["area"] for row in read_part(job.output_store, plan, 1).to_pylist()} == {256}


def test_a_forecast_of_containers_writes_nothing(photos: ContainedPhotos) -> None:
    job = job_on(photos, "looked-at")
    assert job.image_source_for_a_look.read_one_of_many(photos.name(9), 10_000).startswith(b"\x89PNG")
    assert list(job.output_store.listing("")) == []
