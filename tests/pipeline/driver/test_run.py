"""The whole run on a real local Ray: from Parquet and photos to COCO, on a disk and on a real S3 server."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO

from pipeline.config import Job, parse_job
from pipeline.driver import ending
from pipeline.driver.progress import read_status
from pipeline.driver.run import RunResult, run
from pipeline.driver.seeing.stages import read_stages
from pipeline.failure import REASONS
from pipeline.interventions import skip_image
from pipeline.manifests import manifest
from pipeline.plan import find_or_make_plan
from pipeline.storage.filesystem import Storage
from pipeline.storage.store import Store
from tests.pipeline.make_data import click_rows, disc, encode, parquet, picture, put_dataset
from tests.s3_server import S3Server

SECOND_STORE = pytest.mark.slow  # tests/pipeline/storage has what both kinds of store promise


@pytest.fixture
def data(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty place for photos, clicks and labels."""
    if request.param == "disk":
        return Store(str(tmp_path))
    server: S3Server = request.getfixturevalue("s3")
    return Store(server.bucket(f"run-{uuid.uuid4().hex[:8]}"), Storage(endpoint_url=server.endpoint_url))


def label(document: dict[str, Any], **options: Any) -> tuple[Job, RunResult]:
    job = parse_job(document, "job")
    return job, run(job, **options)


def instances(job: Job, tmp_path: Path) -> COCO:
    """The exported file, read back by pycocotools."""
    path = tmp_path / f"{uuid.uuid4().hex}.json"
    path.write_bytes(job.output_store.read("export/coco/instances.json"))
    return COCO(str(path))


@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("data", ["s3", pytest.param("disk", marks=SECOND_STORE)], indirect=True)
def test_every_object_gets_its_mask_by_two_workers(data: Store, tmp_path: Path) -> None:
    job, result = label(put_dataset(data, images=6) | {"workers": {"count": 2, "gpus": 0, "cpus": 1}})
    assert (result.outcome, result.exit_code, result.objects, result.failed) == ("complete", 0, 12, {})
    coco = instances(job, tmp_path)
    assert [image["file_name"] for image in coco.dataset["images"]] == [f"{n:04d}.png" for n in range(6)]
    assert [each["name"] for each in coco.dataset["categories"]] == ["blue", "red"]
    assert len(coco.anns) == 12
    for annotation in coco.anns.values():
        mask = coco.annToMask(annotation).astype(bool)
        truth = disc(int(annotation["object"]))
        assert (mask & truth).sum() / (mask | truth).sum() > 0.8
        assert annotation["area"] == mask.sum()
        assert 0 < annotation["score"] <= 1
        left, top, width, height = annotation["bbox"]
        rows, columns = np.nonzero(mask)
        assert (left, top) == (columns.min(), rows.min())
        assert (width, height) == (np.ptp(columns) + 1, np.ptp(rows) + 1)
    ended = json.loads(job.output_store.read("run.json"))
    assert (ended["outcome"], ended["objects"], ended["failed"]) == ("complete", 12, {})
    stages = read_stages(job.output_store, ended["fingerprint"])
    assert list(stages) == ["fetch", "decode", "attention and maps", "masks", "write"]
    assert min(stages.values()) > 0
    status = read_status(job.output_store)
    assert status is not None
    assert {image.image for image in status.slow_images} == {f"{n:04d}.png" for n in range(6)}
    assert [node.images for node in status.slow_nodes] == [6]
    assert sum(image.seconds for image in status.slow_images) == pytest.approx(status.slow_nodes[0].seconds, abs=0.1)


@pytest.mark.usefixtures("local_ray")
def test_a_driver_that_dies_before_its_end_leaves_manifests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "SHARDS_A_MANIFEST", 2)
    monkeypatch.setattr(ending, "write_manifests", lambda parts: None)  # what it does not come to
    job, result = label(put_dataset(Store(str(tmp_path)), images=8))
    assert result.outcome == "complete"
    keys = [entry.key for entry in job.output_store.listing("manifests")]
    # The last one may be on its way when the last shard is done.
    assert keys[:1] == ["manifests/shards-00000-00002.parquet"]


@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("data", ["disk", pytest.param("s3", marks=SECOND_STORE)], indirect=True)
def test_each_bad_input_is_an_error_row_and_its_neighbours_get_their_masks(data: Store) -> None:
    document = put_dataset(data, images=3)
    data.put("photos/torn.png", encode(picture())[:200])
    data.put("photos/text.png", b"not an image")
    bad = [
        *click_rows("missing.png"),
        *click_rows("torn.png"),
        *click_rows("text.png"),
        *click_rows("../photos/0000.png"),
        {**click_rows("0000.png")[0], "object": "outside", "x": 98.0},
        {**click_rows("0001.png")[0], "object": "background", "label": False},
    ]
    data.put("clicks/bad.parquet", parquet(bad))
    document = {**document, "limits": {"max_failed_share": 0.9}}
    find_or_make_plan(parse_job(document, "job"))
    skip_image(Store(document["output"], data.storage), "0002.png", "an operator's wish")
    job, result = label(document)
    assert result.outcome == "complete"
    assert result.failed == {
        "image_undecodable": 4,
        "image_missing": 2,
        "image_outside_root": 2,
        "skipped": 2,
        "click_outside": 1,
        "no_foreground": 1,
    }
    status = read_status(job.output_store)
    assert status is not None
    assert status.objects_done == status.objects_total == 6 + len(bad)
    assert (
        "bad.parquet, row 8: columns x, y: found (98, 30) in image '0000.png'; allowed: 0..95, 0..71"
        in (status.examples["click_outside"][0])
    )
    assert set(result.failed) <= set(REASONS)


@pytest.mark.usefixtures("local_ray")
def test_too_many_failures_are_an_exit_code_and_a_message(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    document = put_dataset(store, images=2)
    store.put("clicks/bad.parquet", parquet(click_rows("missing.png")))
    _, result = label(document)
    assert (result.outcome, result.exit_code) == ("too_many_failed", 3)
    assert result.message.startswith("33.3% of 6 objects failed; allowed: 5.0% (limits.max_failed_share)")


@pytest.mark.usefixtures("local_ray")
def test_a_wrong_bucket_stops_the_run_early(tmp_path: Path) -> None:
    document = put_dataset(Store(str(tmp_path)), images=20)
    document |= {"images": str(tmp_path / "elsewhere"), "limits": {"min_objects_before_abort": 4}}
    job, result = label(document)
    assert (result.outcome, result.exit_code) == ("aborted", 1)
    assert "image_missing" in result.message
    status = read_status(job.output_store)
    assert status is not None
    assert status.shards_done < status.shards_total


@pytest.mark.usefixtures("local_ray")
def test_retry_failed_labels_what_can_be_labelled_now(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    document = put_dataset(store, images=3) | {"limits": {"max_failed_share": 1.0}}
    late = store.read("photos/0001.png")
    (tmp_path / "photos" / "0001.png").unlink()
    job, first = label(document)
    assert first.failed == {"image_missing": 2}
    assert len(instances(job, tmp_path).anns) == 4
    store.put("photos/0001.png", late)
    job, second = label(document, retry="retryable")
    assert second.failed == {}
    assert second.objects == 6
    assert len(instances(job, tmp_path).anns) == 6
    assert [entry.key for entry in job.output_store.listing("attempts/2/parts")] == [
        "attempts/2/parts/shard-00000.parquet"
    ]


@pytest.mark.usefixtures("local_ray")
def test_a_second_run_of_a_finished_job_does_nothing_and_exports_the_same_bytes(tmp_path: Path) -> None:
    document = put_dataset(Store(str(tmp_path)), images=3)
    job, _ = label(document)
    before = job.output_store.read("export/coco/instances.json")
    seen = []
    job, result = label(document, on_progress=seen.append)
    assert result.outcome == "complete"
    assert seen == []
    assert job.output_store.read("export/coco/instances.json") == before
