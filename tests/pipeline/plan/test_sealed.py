"""What is sealed stays small whatever the number of shards, and is found out where it is another."""

from __future__ import annotations

import hashlib
import json
import pickle
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.plan import (
    PlanDamaged,
    find_head,
    find_or_make_plan,
    load_head,
    load_plan,
    read_images,
    read_shard,
    seal_plan,
)
from pipeline.shards.shard_table import Shard, ShardTable
from pipeline.storage.store import Store
from tests.pipeline.plan.job_of import job_of


def test_the_seal_and_what_a_worker_is_given_do_not_grow_with_the_shards(tmp_path: Path) -> None:
    store, digest = Store(str(tmp_path)), hashlib.sha256(b"any").hexdigest()
    plan = seal_plan(store, "", {"a": 1}, [], [], ShardTable.of(Shard(n, 128, 640, digest) for n in range(30_000)))
    assert (plan.images, plan.objects, len(plan.shards)) == (3_840_000, 19_200_000, 30_000)
    assert len(store.read("plan/plan.json")) < 1000
    assert len(pickle.dumps(plan.reference)) < 1000
    assert len(pickle.dumps(plan.shards[29_999])) < 1000


def test_a_plan_whose_table_is_gone_or_another_is_found_out(document: dict[str, Any], tmp_path: Path) -> None:
    job = job_of(document)
    plan = find_or_make_plan(job)
    other = find_or_make_plan(job_of(document, output=str(tmp_path / "other"), shard_images=1))
    key, others = (f"plan/shards-{each.shards_digest[:8]}.parquet" for each in (plan, other))
    job.output_store.put(key, Store(str(tmp_path / "other")).read(others))
    with pytest.raises(PlanDamaged, match=r"shards-[0-9a-f]{8}\.parquet: sha256 is"):
        load_plan(job.output_store)
    (Path(job.output) / key).unlink()
    with pytest.raises(PlanDamaged, match=r"shards-[0-9a-f]{8}\.parquet: is gone"):
        load_plan(job.output_store)
    head = find_head(job.output_store)  # which does not read them
    assert head is not None
    assert head.reference == plan.reference


def test_a_worker_finds_the_plan_that_its_driver_means_or_none(document: dict[str, Any], tmp_path: Path) -> None:
    job, other = job_of(document), job_of(document, output=str(tmp_path / "other"), shard_images=1)
    plan, others = find_or_make_plan(job), find_or_make_plan(other)
    head = load_head(job.output_store, plan.reference)
    assert (head.identity, head.files, head.reference) == (plan.identity, plan.files, plan.reference)
    assert read_images(job.output_store, head, plan.shards[1]) == read_shard(job.output_store, plan, 1)
    assert others.fingerprint == plan.fingerprint
    with pytest.raises(PlanDamaged, match=r"plan\.json: is another one now"):
        load_head(other.output_store, plan.reference)
    with pytest.raises(PlanDamaged, match=r"attempts/2/plan/plan\.json: is gone"):
        load_head(job.output_store, replace(plan.reference, root="attempts/2/"))


def test_a_seal_of_version_0_1_has_the_table_in_it(document: dict[str, Any]) -> None:
    job = job_of(document)
    plan, key = find_or_make_plan(job), "plan/plan.json"
    listed = [asdict(shard) for shard in plan.shards]
    seal = json.loads(job.output_store.read(key)) | {"shards": listed}
    job.output_store.put(key, json.dumps(seal).encode())
    old = load_plan(job.output_store)
    assert old is not None
    assert old.shards == plan.shards
    assert old.shards_digest == hashlib.sha256("".join(each["sha256"] for each in listed).encode()).hexdigest()
    assert load_head(job.output_store, old.reference).files == plan.files
    assert read_shard(job.output_store, old, 2) == read_shard(job.output_store, plan, 2)
