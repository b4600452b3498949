"""Parts: every object exactly once, put there in one piece, and nobody else's part accepted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from pipeline.attempts import all_attempts, plan_retry
from pipeline.config import Job, parse_job
from pipeline.failure import Failure
from pipeline.frozen_parts import FrozenParts, freeze_parts, newest_rows
from pipeline.manifests.count import newest_failures
from pipeline.parts import (
    ForeignPart,
    Row,
    commit_part,
    error_row,
    finished_shards,
    mask_row,
    part_key,
    read_part,
)
from pipeline.plan import Plan, find_or_make_plan, read_shard
from pipeline.storage.store import Store
from tests.pipeline.make_data import put_dataset


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return parse_job(put_dataset(Store(str(tmp_path)), images=4), "job")


@pytest.fixture
def plan(job: Job) -> Plan:
    return find_or_make_plan(job)


def rows_of(job: Job, plan: Plan, shard: int, failed: str | None = None) -> list[Row]:
    """A row an object: masks, but an error for the objects called `failed`."""
    mask = np.zeros((6, 8), bool)
    mask[2:4, 3:7] = True
    return [
        error_row(each, Failure("internal", "it broke"))
        if each.object == failed
        else mask_row(each, mask, score=0.5, seconds=0.1)
        for image in read_shard(job.output_store, plan, shard)
        for each in image.objects
    ]


def commit(job: Job, plan: Plan, shard: int, rows: list[Row]) -> None:
    commit_part(job.output_store, plan, shard, read_shard(job.output_store, plan, shard), rows)


def frozen(store: Store) -> FrozenParts:
    return freeze_parts(store, all_attempts(store))


def test_a_part_holds_what_was_committed(job: Job, plan: Plan) -> None:
    rows = rows_of(job, plan, 0, failed="1")
    commit(job, plan, 0, rows[::-1])
    assert finished_shards(job.output_store, plan) == {0}
    stored = read_part(job.output_store, plan, 0).to_pylist()
    assert [(row["image"], row["object"]) for row in stored] == [(row["image"], row["object"]) for row in rows]
    assert stored[0]["bbox"] == [3.0, 2.0, 4.0, 2.0]
    assert stored[0]["area"] == 8
    assert coco_mask.decode(stored[0]["rle"]).sum() == 8
    assert stored[1]["error"] == {"stage": "segment", "reason": "internal", "message": "it broke", "retryable": True}
    parts = freeze_parts(job.output_store, [plan])
    assert [(shard, row["object"]) for shard, row in newest_failures(parts)] == [(0, "1"), (0, "1")]


def test_a_second_worker_on_the_same_shard_is_harmless(job: Job, plan: Plan) -> None:
    commit(job, plan, 0, rows_of(job, plan, 0))
    before = job.output_store.read(part_key("", 0))
    commit(job, plan, 0, rows_of(job, plan, 0, failed="1"))
    assert job.output_store.read(part_key("", 0)) == before


@pytest.mark.parametrize("change", ["missing", "twice", "foreign"])
def test_rows_that_are_not_the_shards_objects_are_never_written(job: Job, plan: Plan, change: str) -> None:
    rows = rows_of(job, plan, 0)
    wrong = {"missing": rows[1:], "twice": [*rows, rows[0]], "foreign": rows_of(job, plan, 1)}[change]
    with pytest.raises(ValueError, match="do not account for its 4 objects"):
        commit(job, plan, 0, wrong)
    assert finished_shards(job.output_store, plan) == set()


def test_a_part_of_another_plan_is_refused(job: Job, plan: Plan, tmp_path: Path) -> None:
    other_job = parse_job(
        {**job.model_dump(), "output": str(tmp_path / "other"), "settings": {"temperature": 0.5}}, "other"
    )
    other = find_or_make_plan(other_job)
    commit(other_job, other, 0, rows_of(other_job, other, 0))
    job.output_store.put_new(part_key("", 0), other_job.output_store.read(part_key("", 0)))
    with pytest.raises(ForeignPart, match="belongs to plan"):
        commit(job, plan, 0, rows_of(job, plan, 0))


def test_a_part_with_other_objects_is_refused(job: Job, plan: Plan) -> None:
    commit(job, plan, 1, rows_of(job, plan, 1))
    job.output_store.put_new(part_key("", 0), job.output_store.read(part_key("", 1)))
    with pytest.raises(ForeignPart, match="not the 4 objects of shard 0"):
        commit(job, plan, 0, rows_of(job, plan, 0))


def test_a_retry_takes_failed_objects_only_and_its_rows_are_the_newest(job: Job, plan: Plan) -> None:
    store = job.output_store
    for shard in plan.shards:
        commit(job, plan, shard.index, rows_of(job, plan, shard.index, failed="1"))
    retry = plan_retry(frozen(store), lambda error: error["retryable"], shard_images=3)
    assert retry is not None
    assert retry.objects == 4
    assert [attempt.root for attempt in all_attempts(store)] == ["", "attempts/2/"]
    for shard in retry.shards:
        commit(job, retry, shard.index, rows_of(job, retry, shard.index))
    newest = [row for image in newest_rows(frozen(store)) for row in image.rows]
    assert len(newest) == 8
    assert all(row["rle"] for row in newest)
    assert plan_retry(frozen(store), lambda error: True, shard_images=3) is None


def test_failures_that_cannot_be_retried_are_left_alone(job: Job, plan: Plan) -> None:
    store = job.output_store
    for shard in plan.shards:
        rows = [
            error_row(each, Failure("image_undecodable", "torn"))
            for image in read_shard(store, plan, shard.index)
            for each in image.objects
        ]
        commit(job, plan, shard.index, rows)
    assert plan_retry(frozen(store), lambda error: error["retryable"], shard_images=3) is None
    everything = plan_retry(frozen(store), lambda error: True, shard_images=3)
    assert everything is not None
    assert everything.objects == 8
