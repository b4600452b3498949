"""`m2n2 calibrate`: from a run and its truth to a file that the next job names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jobs.cli import main
from m2n2.confidence.evidence import Evidence
from pipeline.attempts import all_attempts
from pipeline.config import Job, parse_job
from pipeline.driver.run import run
from pipeline.frozen_parts import freeze_parts, newest_rows
from pipeline.parts import commit_part, mask_row
from pipeline.plan import find_or_make_plan, read_shard
from pipeline.storage.filesystem import Storage
from pipeline.storage.store import Store
from pipeline.worker.planned_score import score_of
from tests.pipeline.make_data import picture, put_dataset
from tests.pipeline.make_parts import make_parts
from tests.s3_server import S3Server

EVIDENCE = Evidence(0.5, 0.5, 0.5, 0.4, 1.0, 0.0, 1)


def job_of(root: Path, **changes: object) -> Job:
    return parse_job(put_dataset(Store(str(root)), images=6) | changes, "job")


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    """Every object is a rectangle of 2 x 3 pixels at the top left."""
    height, width = picture().shape[:2]
    names = [f"{number:04d}.png" for number in range(6)]
    annotations = [
        {"id": 2 * n + k, "image_id": n, "object": str(k), "segmentation": [[0, 0, 3, 0, 3, 2, 0, 2]]}
        for n in range(6)
        for k in (1, 2)
    ]
    images = [{"id": n, "file_name": name, "height": height, "width": width} for n, name in enumerate(names)]
    path = tmp_path / "truth.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations}))
    return path


def test_masks_that_are_always_wrong_get_lower_scores_in_the_next_job(
    tmp_path: Path, truth: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = job_of(tmp_path)
    plan = find_or_make_plan(job)
    wrong = picture()[..., 0] >= 0
    for shard in plan.shards:
        images = read_shard(job.output_store, plan, shard.index)
        rows = [mask_row(each, wrong, 0.5, 0.0, EVIDENCE) for image in images for each in image.objects]
        commit_part(job.output_store, plan, shard.index, images, rows)
    target = tmp_path / "calibration.json"
    assert main(["calibrate", job.output, "--truth", str(truth), "--to", str(target)]) == 0
    assert "12 objects of 6 images" in capsys.readouterr().out
    again = job_of(tmp_path, calibration=str(target), output=str(tmp_path / "again"))
    assert score_of(find_or_make_plan(again))(EVIDENCE) < score_of(plan)(EVIDENCE) - 0.05


def test_parts_without_evidence_are_refused_in_one_line(
    tmp_path: Path, truth: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = job_of(tmp_path)
    make_parts(job.output_store, find_or_make_plan(job))
    assert main(["calibrate", job.output, "--truth", str(truth)]) == 2
    error = capsys.readouterr().err
    assert "none of the masks has the evidence that scores are fitted to: 12 were made before version 0.2" in error
    assert error.count("\n") == 1


def test_a_truth_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", str(tmp_path), "--truth", str(tmp_path / "none.json")]) == 2
    assert "none.json: there is no such file" in capsys.readouterr().err


@pytest.mark.usefixtures("local_ray")
def test_workers_score_the_next_run_by_the_file_and_all_of_it_may_lie_on_s3(s3: S3Server) -> None:
    """Labelled, calibrated and labelled again: the masks stay, every score is the new file's of the mask's evidence."""
    data = Store(s3.bucket("calibrate"), Storage(endpoint_url=s3.endpoint_url))
    document = put_dataset(data, images=4)
    first = parse_job(document, "job")
    assert run(first).outcome == "complete"
    truth = json.loads(data.read("labels/export/coco/instances.json"))
    for annotation in truth["annotations"]:  # every mask is two pixels: the scores have to fall
        annotation["segmentation"] = [[0, 0, 2, 0, 2, 1, 0, 1]]
    data.put("truth/instances.json", json.dumps(truth).encode())
    address = data.url("truth/calibration.json")
    wanted = ["--truth", data.url("truth/instances.json"), "--to", address, "--endpoint-url", s3.endpoint_url]
    assert main(["calibrate", first.output, *wanted]) == 0
    again = parse_job(document | {"calibration": address, "output": data.url("again/")}, "job")
    assert run(again).outcome == "complete"

    score = score_of(find_or_make_plan(again))
    before, after = (rows_of(job) for job in (first, again))
    assert len(after) == 8
    for old, new in zip(before, after, strict=True):
        assert new["rle"] == old["rle"]
        assert new["score"] == pytest.approx(score(Evidence(**new["evidence"])))
        assert new["score"] < old["score"] - 0.05


def rows_of(job: Job) -> list[dict[str, Any]]:
    parts = freeze_parts(job.output_store, all_attempts(job.output_store))
    return [row for image in newest_rows(parts) for row in image.rows]
