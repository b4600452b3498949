"""Manifests: what was counted once is not read again, and nothing that is counted from them differs from the parts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.attempts import all_attempts, plan_retry
from pipeline.config import Job, parse_job
from pipeline.driver.progress import read_status
from pipeline.frozen_parts import FrozenParts, freeze_parts
from pipeline.manifests import manifest
from pipeline.manifests.count import count_objects, newest_failures
from pipeline.manifests.during_run import ManifestsDuringRun
from pipeline.manifests.freeze import _spans
from pipeline.manifests.manifest import manifest_key, write_manifests
from pipeline.parts import ForeignPart, part_key
from pipeline.plan import Plan, find_or_make_plan
from pipeline.shards.shard_table import Shard, ShardTable
from pipeline.storage.store import Entry, Store
from tests.pipeline.keys_read import keys_read
from tests.pipeline.make_data import EMPTY_PLAN, put_dataset
from tests.pipeline.make_parts import make_part, make_parts

FAILED = ("0001.png", "0002.png", "0005.png")


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.setattr(manifest, "SHARDS_A_MANIFEST", 2)
    return parse_job(put_dataset(Store(str(tmp_path)), images=10), "job")


@pytest.fixture
def plan(job: Job) -> Plan:
    """Of five shards with two images, four objects each."""
    return find_or_make_plan(job)


def frozen(job: Job) -> FrozenParts:
    return freeze_parts(job.output_store, all_attempts(job.output_store))


def names(store: Store, folder: str = "manifests") -> list[str]:
    return [entry.key.rpartition("/")[2] for entry in store.listing(folder)]


def test_only_whole_blocks_get_a_manifest_and_each_once(job: Job, plan: Plan) -> None:
    store = job.output_store
    for shard in (0, 1, 2, 4):
        make_part(store, plan, shard)
    write_manifests(frozen(job))
    assert names(store) == ["shards-00000-00002.parquet", "shards-00004-00005.parquet"]
    first = store.info(manifest_key(plan, 0))
    make_part(store, plan, 3)
    write_manifests(frozen(job))
    assert names(store)[1] == "shards-00002-00004.parquet"
    assert store.info(manifest_key(plan, 0)) == first


def test_status_reads_manifests_and_of_parts_only_the_tail(
    job: Job, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = job.output_store
    for shard in (0, 1, 2):
        make_part(store, plan, shard, FAILED)
    before = read_status(store)
    write_manifests(frozen(job))
    keys = keys_read(monkeypatch)
    assert read_status(store) == before
    assert [key for key in keys if "parts/" in key] == [part_key("", 2)]
    assert before is not None
    assert (before.objects_done, before.failed) == (12, {"image_undecodable": 6})
    assert before.examples == {"image_undecodable": ["torn"] * 3}


def test_status_reads_each_manifest_once(job: Job, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    store = job.output_store
    make_parts(store, plan, FAILED)
    write_manifests(frozen(job))
    keys = keys_read(monkeypatch)
    status = read_status(store)
    assert status is not None
    assert (status.objects_done, status.failed) == (20, {"image_undecodable": 6})
    assert sorted(key for key in keys if "manifests/" in key) == [manifest_key(plan, block) for block in range(3)]


def test_what_is_tried_again_is_the_same_with_manifests_and_without(
    job: Job, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = job.output_store
    make_parts(store, plan, FAILED)
    again = plan_retry(frozen(job), lambda error: True, 2)
    assert again is not None
    make_part(store, again, 0, FAILED[:1])  # one image fails again, one has its masks now, one is not yet done
    without = list(newest_failures(frozen(job)))
    assert {row["image"] for _, row in without} == {FAILED[0], FAILED[2]}
    counted = count_objects(frozen(job))
    assert (counted.objects, counted.failed) == (20, {"image_undecodable": 4})
    make_part(store, again, 1)
    write_manifests(frozen(job))
    assert names(store, "attempts/2/manifests") == ["shards-00000-00002.parquet"]
    keys = keys_read(monkeypatch)
    assert count_objects(frozen(job), against_plan=True).failed == {"image_undecodable": 2}
    assert not [key for key in keys if "parts/" in key]


def test_a_manifest_is_made_only_of_what_was_planned(job: Job, plan: Plan) -> None:
    store = job.output_store
    make_parts(store, plan)
    store.put(part_key("", 1), store.read(part_key("", 0)))
    with pytest.raises(ForeignPart, match=r"shard-00001\.parquet: has 4 rows that are not the 4 objects of shard 1"):
        write_manifests(frozen(job))
    assert names(store) == []


def test_a_manifest_of_another_plan_is_refused(job: Job, plan: Plan, tmp_path: Path) -> None:
    other = job.model_copy(update={"output": str(tmp_path / "other"), "shard_images": 1})
    make_parts(other.output_store, find_or_make_plan(other))
    write_manifests(frozen(other))
    make_parts(job.output_store, plan)
    job.output_store.put(manifest_key(plan, 0), other.output_store.read(manifest_key(plan, 0)))
    with pytest.raises(ForeignPart, match="shards-00000-00002"):
        count_objects(frozen(job))


def test_a_part_that_is_another_than_its_manifest_says_is_read_itself(job: Job, plan: Plan) -> None:
    store = job.output_store
    make_parts(store, plan)
    write_manifests(frozen(job))
    (Path(job.output) / part_key("", 0)).unlink()
    make_part(store, plan, 0, ["0000.png", "0001.png"])
    assert count_objects(frozen(job)).failed == {"image_undecodable": 4}
    (Path(job.output) / part_key("", 0)).unlink()
    assert count_objects(frozen(job)).objects == 16  # it is missing, whatever the manifest says


def test_status_asks_nothing_about_parts_that_manifests_cover(
    job: Job, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = job.output_store
    make_parts(store, plan)
    (Path(job.output) / part_key("", 4)).unlink()
    write_manifests(frozen(job))
    asked: list[tuple[str, str]] = []
    between = Store.listing_between

    def noting(self: Store, prefix: str, after: str, last: str) -> Iterator[Entry]:
        asked.append((after, last))
        return between(self, prefix, after, last)

    monkeypatch.setattr(Store, "listing_between", noting)
    status = read_status(store)
    assert asked == [("parts/shard-00004", "parts/shard-00004.parquet")]
    assert status is not None
    assert (status.shards_done, status.objects_done) == (4, 16)


def test_what_follows_in_a_listing_is_asked_for_at_once_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "SHARDS_A_MANIFEST", 1000)
    plan = replace(EMPTY_PLAN, shards=ShardTable.of(Shard(number, 1, 1, "0" * 64) for number in range(101_500)))
    covered = set(range(97)) | {98}
    assert list(_spans(plan, covered)) == [(97_000, 97_999), (99_000, 99_999), (100_000, 101_499)]


def test_a_manifest_is_made_as_soon_as_its_shards_are_done(job: Job, plan: Plan) -> None:
    store = job.output_store
    for shard in (0, 1, 2):
        make_part(store, plan, shard)
    with ManifestsDuringRun(store, plan, done={0, 1, 2}) as manifests:  # those of a driver that was killed
        manifests.add(2)
    assert names(store) == ["shards-00000-00002.parquet"]
    make_part(store, plan, 3)
    with ManifestsDuringRun(store, plan, done={0, 1, 2}) as manifests:
        manifests.add(3)
        manifests.add(3)
        while len(names(store)) < 2:  # the thread has it; else the test times out
            time.sleep(0.01)
    assert names(store) == ["shards-00000-00002.parquet", "shards-00002-00004.parquet"]


def test_a_manifest_that_cannot_be_made_is_said_and_left_to_the_end(
    job: Job, plan: Plan, caplog: pytest.LogCaptureFixture
) -> None:
    store = job.output_store
    make_parts(store, plan)
    store.put(part_key("", 1), store.read(part_key("", 0)))
    with ManifestsDuringRun(store, plan, done={0}) as manifests:
        manifests.add(1)
        while not caplog.messages:
            time.sleep(0.01)
    assert "shards-00000-00002.parquet is not written yet" in caplog.text
    with pytest.raises(ForeignPart):
        write_manifests(frozen(job))
