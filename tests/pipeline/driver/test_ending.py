"""The end is honest: complete is counted against the plan, and a bad ending stays until it is dealt with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import Job, parse_job
from pipeline.driver.doubts import Doubts, why_doubtful, write_doubts
from pipeline.driver.labelling import RunAborted
from pipeline.driver.run import run
from pipeline.parts import ForeignPart, part_key
from pipeline.plan import Plan, PlanMismatch, find_or_make_plan
from pipeline.storage.store import Store
from tests.pipeline.make_data import put_dataset
from tests.pipeline.make_parts import make_part, make_parts

IMAGES = 6


@pytest.fixture
def document(tmp_path: Path) -> dict[str, Any]:
    return put_dataset(Store(str(tmp_path)), images=IMAGES)


@pytest.fixture
def job(document: dict[str, Any]) -> Job:
    return parse_job(document, "job")


@pytest.fixture
def plan(job: Job) -> Plan:
    return find_or_make_plan(job)


def instead_of_labelling(monkeypatch: pytest.MonkeyPatch, action: Any) -> None:
    monkeypatch.setattr("pipeline.driver.run._label", lambda job, plan, *_: action(plan))


def test_a_run_whose_plan_is_deleted_half_way_is_not_complete(
    job: Job, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(plan: Plan) -> None:
        make_part(job.output_store, plan, 0)
        shutil.rmtree(Path(job.output) / "plan")

    instead_of_labelling(monkeypatch, half)
    result = run(job, plan=plan)
    assert (result.outcome, result.exit_code, result.objects, result.exports) == ("aborted", 1, 4, [])
    assert "plan/plan.json is gone" in result.message


def test_a_run_that_another_driver_planned_anew_stops(
    job: Job, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = job.model_copy(update={"output": str(tmp_path / "other"), "shard_images": 3})
    others = find_or_make_plan(other)

    def overwritten(plan: Plan) -> None:
        make_parts(job.output_store, plan)
        for key in (f"plan/shards-{others.shards_digest[:8]}.parquet", "plan/plan.json"):
            job.output_store.put(key, other.output_store.read(key))

    instead_of_labelling(monkeypatch, overwritten)
    result = run(job, plan=plan)
    assert (result.outcome, result.exit_code) == ("aborted", 1)
    assert "is another one now: another driver planned this output too" in result.message


def test_a_part_that_is_missing_is_counted(job: Job, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    def but_one(plan: Plan) -> None:
        make_parts(job.output_store, plan)
        (Path(job.output) / part_key("", 1)).unlink()

    instead_of_labelling(monkeypatch, but_one)
    result = run(job, plan=plan)
    assert (result.outcome, result.exit_code, result.objects) == ("stopped", 1, 8)
    assert result.message == "1 of 3 shards are not done; start the same job again to go on"


def test_a_part_with_another_shards_objects_ends_the_run(job: Job, plan: Plan) -> None:
    store = job.output_store
    make_parts(store, plan)
    store.put(part_key("", 1), store.read(part_key("", 0)))
    with pytest.raises(ForeignPart, match="not the 4 objects of shard 1"):
        run(job, plan=plan)


def test_a_shard_of_the_plan_that_is_gone_is_a_damaged_plan(job: Job, plan: Plan) -> None:
    make_parts(job.output_store, plan)
    next(Path(job.output, "plan").glob("shard-00001-*")).unlink()
    with pytest.raises(PlanMismatch, match=r"plan/shard-00001-[0-9a-f]{8}\.parquet: is gone"):
        run(job, plan=plan)


def test_too_many_failures_stay_a_bad_ending_until_they_are_accepted(job: Job, plan: Plan) -> None:
    make_parts(job.output_store, plan, failed={"0001.png", "0003.png"})
    for _ in range(2):
        result = run(job, plan=plan)
        assert (result.outcome, result.exit_code) == ("too_many_failed", 3)
        assert "--accept-failures" in result.message
    assert run(job, plan=plan, accept=True).exit_code == 0
    result = run(job, plan=plan)
    assert (result.outcome, result.message) == ("complete", "4 of 12 objects failed, which was accepted (accepted/)")
    (record,) = job.output_store.listing("accepted")
    assert json.loads(job.output_store.read(record.key))["failed"] == 4


def test_more_failures_than_were_accepted_are_a_bad_ending_again(job: Job, plan: Plan, tmp_path: Path) -> None:
    make_parts(job.output_store, plan, failed={"0001.png"})
    assert run(job, plan=plan, accept=True).exit_code == 0
    worse = job.model_copy(update={"output": str(tmp_path / "worse")})
    worse_plan = find_or_make_plan(worse)
    make_parts(worse.output_store, worse_plan, failed={"0001.png", "0002.png"})
    shutil.copytree(Path(job.output) / "accepted", tmp_path / "worse" / "accepted")
    assert run(worse, plan=worse_plan).exit_code == 3


def test_run_json_names_the_parts_that_were_counted(job: Job, plan: Plan) -> None:
    make_parts(job.output_store, plan)
    run(job, plan=plan)
    ended = json.loads(job.output_store.read("run.json"))
    exported = json.loads(job.output_store.read("export/coco/instances.json"))
    assert ended["parts"] == exported["info"]["parts"]
    assert (ended["objects"], ended["planned_objects"]) == (2 * IMAGES, 2 * IMAGES)


def test_storage_that_replaces_objects_is_a_warning(
    job: Job, plan: Plan, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    make_parts(job.output_store, plan)
    (Path(job.output) / "manifests").mkdir()
    monkeypatch.setattr("pipeline.storage.store.create_file", lambda path, data: path.write_bytes(data) > 0)
    run(job, plan=plan)
    (warning,) = (record.message for record in caplog.records if record.levelname == "WARNING")
    assert "does not honour create-if-absent" in warning


def test_doubtful_input_is_no_good_ending_until_the_job_says_the_orientation(
    document: dict[str, Any], plan: Plan, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    def label(plan: Plan) -> None:
        make_parts(job.output_store, plan)
        write_doubts(job.output_store, plan.fingerprint, Doubts(IMAGES, {"exif_orientation": 2}))

    instead_of_labelling(monkeypatch, label)
    for _ in range(2):
        result = run(job, plan=plan)
        assert (result.outcome, result.exit_code) == ("complete_in_doubt", 3)
        assert result.message.startswith("2 of 6 images have an EXIF orientation")
    assert run(parse_job(document | {"orientation": "stored"}, "job"), plan=plan).outcome == "complete"


def test_a_run_that_stops_in_doubt_needs_a_person(job: Job, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    def label(plan: Plan) -> None:
        make_part(job.output_store, plan, 0)
        doubts = Doubts(2, {"exif_orientation": 2})
        write_doubts(job.output_store, plan.fingerprint, doubts)
        raise RunAborted(why_doubtful(doubts, job))

    instead_of_labelling(monkeypatch, label)
    result = run(job, plan=plan)
    assert (result.outcome, result.exit_code) == ("stopped_in_doubt", 3)
