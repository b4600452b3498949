"""One frozen list of parts for every pass: whatever arrives meanwhile, masks stand on their own image."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jobs.cli import main
from pipeline.attempts import all_attempts, plan_retry
from pipeline.clicks import ObjectClicks
from pipeline.config import Job, parse_job
from pipeline.export.coco import export_coco
from pipeline.export.labels import Labels, labels_of_run
from pipeline.frozen_parts import LabelledImage, freeze_parts, newest_rows
from pipeline.manifests.count import count_objects
from pipeline.parts import ForeignPart, Row, mask_row, part_key, read_part
from pipeline.plan import Plan, find_or_make_plan, planned_categories
from pipeline.storage.store import Store
from tests.pipeline.make_data import click_rows, parquet, put_dataset
from tests.pipeline.make_parts import make_part, make_parts
from tests.pipeline.read_coco import placed


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return parse_job(put_dataset(Store(str(tmp_path)), images=6), "job")


@pytest.fixture
def plan(job: Job) -> Plan:
    return find_or_make_plan(job)


def exported(labels: Labels, path: Path) -> bytes:
    export_coco(labels, Store(""), str(path))
    return path.read_bytes()


def frozen_labels(job: Job) -> Labels:
    return labels_of_run(freeze_parts(job.output_store, all_attempts(job.output_store)))


def test_an_export_while_parts_arrive_is_the_export_of_the_moment_it_began(
    job: Job, plan: Plan, tmp_path: Path
) -> None:
    store = job.output_store
    make_part(store, plan, 2)
    quiet = exported(frozen_labels(job), tmp_path / "quiet.json")
    labels = frozen_labels(job)
    arriving = [0, 1]

    def a_part_arrives_before_every_image(columns: Sequence[str]) -> Iterator[LabelledImage]:
        for image in labels.images(columns):
            if arriving:
                make_part(store, plan, arriving.pop())
            yield image

    busy = exported(replace(labels, images=a_part_arrives_before_every_image), tmp_path / "busy.json")
    assert not arriving
    assert busy == quiet
    assert labels.missing == [part_key("", 0), part_key("", 1)]


def test_identifiers_are_the_plans_however_much_of_it_is_there(job: Job, plan: Plan, tmp_path: Path) -> None:
    seen: dict[str, object] = {}
    for shard in (1, 2, 0):
        make_part(job.output_store, plan, shard, failed={"0003.png"})
        now = placed(exported(frozen_labels(job), tmp_path / "now.json"))
        assert seen.items() <= now.items()
        seen = now
    assert [key for key in seen if key.startswith("image ")] == [f"image 000{number}.png" for number in (0, 1, 2, 4, 5)]
    assert seen["image 0005.png"] == 6
    again = plan_retry(freeze_parts(job.output_store, [plan]), lambda error: True, 2)
    assert again is not None
    make_parts(job.output_store, again)
    retried = placed(exported(frozen_labels(job), tmp_path / "retried.json"))
    assert seen.items() <= retried.items()
    assert retried["image 0003.png"] == 4


def test_the_digest_of_the_list_stands_in_the_export_and_says_whether_two_are_of_the_same_parts(
    job: Job, plan: Plan, tmp_path: Path
) -> None:
    digests = []
    for shard in range(3):
        make_part(job.output_store, plan, shard)
        digests.append(json.loads(exported(frozen_labels(job), tmp_path / "a.json"))["info"]["parts"])
        assert digests[-1] == freeze_parts(job.output_store, all_attempts(job.output_store)).digest
    assert len(set(digests)) == 3
    assert json.loads(exported(frozen_labels(job), tmp_path / "b.json"))["info"]["parts"] == digests[-1]


def test_the_digest_of_the_list_is_the_one_that_earlier_versions_wrote(job: Job, plan: Plan) -> None:
    for shard in (0, 2):
        make_part(job.output_store, plan, shard)
    parts = freeze_parts(job.output_store, [plan, replace(plan, root="attempts/2/")])
    listed = [[each.plan.root, each.plan.fingerprint, sorted(each.sizes.items())] for each in parts.attempts]
    assert [len(sizes) for _, _, sizes in listed] == [2, 0]
    assert parts.digest == hashlib.sha256(json.dumps(listed).encode()).hexdigest()


def test_export_ends_with_1_while_parts_are_missing_and_names_one(
    job: Job, plan: Plan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_part(job.output_store, plan, 0)
    command = ["export", job.output, "--to", str(tmp_path / "a.json")]
    assert main(command) == 1
    assert "2 parts were not there, such as parts/shard-00001.parquet" in capsys.readouterr().err
    make_part(job.output_store, plan, 1)
    make_part(job.output_store, plan, 2)
    assert main(command) == 0


def test_categories_come_from_the_plan_and_of_an_old_plan_from_its_shards(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    document = put_dataset(store, images=2)
    store.put("clicks/c.parquet", parquet([click_rows("0001.png")[0] | {"object": "9", "category": "apple"}]))
    job = parse_job(document, "job")
    plan = find_or_make_plan(job)
    assert planned_categories(job.output_store, plan) == ["apple", "blue", "red"]
    assert planned_categories(job.output_store, replace(plan, categories=None)) == ["apple", "blue", "red"]


def test_a_part_with_other_objects_than_its_shard_is_found_out(job: Job, plan: Plan) -> None:
    store = job.output_store
    make_parts(store, plan)
    parts = freeze_parts(store, [plan])
    assert count_objects(parts, against_plan=True).objects == 12
    store.put(part_key("", 1), store.read(part_key("", 0)))
    with pytest.raises(ForeignPart, match=r"shard-00001\.parquet: has 4 rows that are not the 4 objects of shard 1"):
        count_objects(parts, against_plan=True)


def test_a_part_of_the_same_job_cut_into_other_shards_is_refused(job: Job, plan: Plan, tmp_path: Path) -> None:
    """What a second driver leaves where storage lets it plan the same output once more, with another shard size."""
    other = job.model_copy(update={"output": str(tmp_path / "other"), "shard_images": 3})
    other_plan = find_or_make_plan(other)
    assert other_plan.fingerprint == plan.fingerprint
    make_part(other.output_store, other_plan, 0)
    job.output_store.put(part_key("", 0), other.output_store.read(part_key("", 0)))
    with pytest.raises(ForeignPart, match="belongs to a plan of the same job with other shards"):
        read_part(job.output_store, plan, 0)


def test_a_part_of_no_shard_is_refused(job: Job, plan: Plan) -> None:
    make_part(job.output_store, plan, 0)
    job.output_store.put(part_key("", 7), job.output_store.read(part_key("", 0)))
    with pytest.raises(ForeignPart, match=r"shard-00007\.parquet: is of no shard of the plan, which has 3"):
        freeze_parts(job.output_store, [plan])


def test_a_mask_without_a_pixel_that_version_0_1_wrote_is_a_failure(
    job: Job, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def empty(clicks: ObjectClicks, failed: object) -> Row:
        return mask_row(clicks, np.zeros((6, 8), bool), score=0.0, seconds=0.0)

    with monkeypatch.context() as version_0_1:
        version_0_1.setattr("tests.pipeline.make_parts.row_of", empty)
        make_part(job.output_store, plan, 0)
    make_part(job.output_store, plan, 1)
    rows = [row for image in newest_rows(freeze_parts(job.output_store, [plan]), []) for row in image.rows]
    assert [row["error"] and row["error"]["reason"] for row in rows] == ["empty_mask"] * 4 + [None] * 4
    assert len(json.loads(exported(frozen_labels(job), tmp_path / "a.json"))["annotations"]) == 4
