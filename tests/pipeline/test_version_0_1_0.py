"""What version 0.1.0 left in storage is read, resumed, counted and exported, and none of its bytes change.

tests/pipeline/make_version_0_1_0.py says how the stored outputs were made.
"""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
import threading
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs.cli import main
from pipeline.attempts import all_attempts
from pipeline.config import Job, load_job, parse_job
from pipeline.driver.progress import read_status
from pipeline.driver.run import run
from pipeline.export.labels import labels_of_run
from pipeline.frozen_parts import freeze_parts
from pipeline.inputs.identity import settings_fingerprint
from pipeline.library.config import Nightly, parse_nightly
from pipeline.library.export import labels_of_library
from pipeline.library.ledger import read_state
from pipeline.library.nights import run_nights
from pipeline.plan import PlanMismatch, as_planned, find_or_make_plan
from pipeline.storage.filesystem import Storage
from pipeline.storage.store import Store
from tests.pipeline.make_data import click_rows, parquet, put_dataset
from tests.s3_server import S3Server

ARCHIVE = Path(__file__).parents[1] / "data" / "version_0_1_0.tar.xz"
EXPORT = "export/coco/instances.json"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The outputs of version 0.1.0, long after it wrote them: no lease of it can still be held."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path / "old", filter="data")
    for path in (tmp_path / "old").rglob("*"):
        os.utime(path, (0, 0))
    return tmp_path / "old"


@pytest.fixture
def inputs(old: Path, s3: S3Server) -> dict[str, Any]:
    """The images and clicks where the old plans say that they are; returns the keys that runs and nights share."""
    store = Store(s3.bucket("version-0-1-0"), Storage(endpoint_url=s3.endpoint_url))
    for path in sorted((old / "inputs").rglob("*.*")):
        store.put(path.relative_to(old / "inputs").as_posix(), path.read_bytes())
    return {
        "images": store.url("photos/"),
        "clicks": store.url("clicks.parquet"),
        "backbone": {"name": "colour", "grid": 16},
        "workers": {"count": 1, "gpus": 0, "cpus": 1},
        "storage": {"endpoint_url": s3.endpoint_url},
        "limits": {"max_failed_share": 1.0},
    }


def job_of(inputs: Mapping[str, Any], output: Path, shard_images: int) -> Job:
    return parse_job({**inputs, "output": str(output), "shard_images": shard_images}, "job")


def frozen(output: Path) -> dict[str, str]:
    """The digests of everything that is created once: plans, parts, ledger states, index files, changes."""
    return {
        path.relative_to(output).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in output.rglob("*")
        if path.is_file() and not {"export", "status", "lease"} & set(path.parts) and path.name not in REPLACED
    }


REPLACED = ("run.json", "last.json", "diff.json", "diff.parquet")


def masks(coco: bytes) -> dict[tuple[str, str], Any]:
    """(image, object) to everything that the COCO file says of its mask; numbers of images and objects do not count."""
    document = json.loads(coco)
    images = {image["id"]: image for image in document["images"]}
    names = {category["id"]: category["name"] for category in document["categories"]}
    found = {}
    for each in document["annotations"]:
        image = images[each["image_id"]]
        size = (image["width"], image["height"])
        mask = (each["segmentation"], each["bbox"], each["area"], each["score"])
        found[image["file_name"], each["object"]] = (size, names[each["category_id"]], *mask)
    return found


def expected(old: Path, name: str) -> dict[tuple[str, str], Any]:
    return masks((old / "expected" / f"{name}.json").read_bytes())


def test_a_complete_run_is_counted_and_exported_again(old: Path, inputs: dict[str, Any], tmp_path: Path) -> None:
    before = frozen(old / "complete")
    result = run(job_of(inputs, old / "complete", 3))  # without Ray: there is nothing to label
    assert (result.outcome, result.objects, result.failed) == ("complete", 13, {"click_outside": 1})
    assert masks((old / "complete" / EXPORT).read_bytes()) == expected(old, "complete")
    after = frozen(old / "complete")
    assert {key: after.pop(key) for key in before} == before
    assert {key.split("/")[-2] for key in after} == {"manifests"}  # which this version adds
    assert main(["export", str(old / "complete"), "--to", str(tmp_path / "copy.json")]) == 0
    assert masks((tmp_path / "copy.json").read_bytes()) == expected(old, "complete")
    assert main(["status", str(old / "complete")]) == 0


@pytest.mark.usefixtures("local_ray")
def test_a_killed_run_goes_on(old: Path, inputs: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    output = old / "half_done"
    before = frozen(output)
    status = read_status(Store(str(output)))
    assert status is not None
    assert (status.shards_done, status.shards_total, status.objects_total) == (1, 6, 13)
    assert main(["status", str(output)]) == 1
    assert "shards   1/6" in capsys.readouterr().out
    result = run(job_of(inputs, output, 1))
    assert (result.outcome, result.objects, result.failed) == ("complete", 13, {})
    exported = masks((output / EXPORT).read_bytes())
    assert exported.pop(("0003.png", "outside"))  # 0.1.0 refused a click at x = width, which now means the last column
    assert exported == expected(old, "half_done")
    assert before.items() <= frozen(output).items()


@pytest.mark.usefixtures("local_ray")
def test_a_library_finishes_its_open_night_and_grows(old: Path, inputs: dict[str, Any], tmp_path: Path) -> None:
    library = old / "library"
    before = frozen(library)
    nightly = nightly_of(inputs, library, [])
    went_on, nothing_new = nights_until(nightly, "2026-01-05")
    assert (went_on.date, went_on.outcome, nothing_new.outcome) == ("2026-01-04", "complete", "nothing_new")
    assert went_on.diff is not None
    assert (went_on.diff.new, went_on.diff.unchanged, went_on.diff.failed) == (6, 10, {})
    assert main(["export", str(library), "--to", str(tmp_path / "library.json")]) == 0
    assert masks((tmp_path / "library.json").read_bytes()) == expected(old, "library")

    clicks = tmp_path / "new.parquet"
    clicks.write_bytes(parquet([click_rows("0000.png")[0] | {"object": "new"}]))
    (grown,) = nights_until(nightly_of(inputs, library, [str(clicks)]), "2026-01-06")
    assert (grown.outcome, grown.diff and (grown.diff.new, grown.diff.unchanged)) == ("complete", (1, 16))
    assert main(["export", str(library), "--to", str(tmp_path / "grown.json")]) == 0
    exported = masks((tmp_path / "grown.json").read_bytes())
    assert exported.pop(("0000.png", "new"))
    assert exported == expected(old, "library")
    assert before.items() <= frozen(library).items()
    states = [night.state for night in read_state(Store(str(library))).nights]
    assert states == ["finished", "abandoned", "finished", "finished", "finished"]


def test_its_masks_say_where_they_come_from_as_far_as_their_plans_know(old: Path) -> None:
    run, library = Store(str(old / "complete")), Store(str(old / "library"))
    attempts = all_attempts(run)
    labels = labels_of_run(freeze_parts(run, attempts))
    columns = ["provenance", "clicks_digest"]
    rows = [row for image in labels.images(columns) for row in image.rows]
    assert {row["provenance"].run for row in rows} == {plan.fingerprint for plan in attempts}
    with labels_of_library(library) as of_library:
        rows += [row for image in of_library.images(columns) for row in image.rows]
    found = {row["provenance"] for row in rows}
    assert {(each.backbone, each.weights, each.version) for each in found} == {("colour", None, None)}
    assert {row.get("clicks_digest") for row in rows} == {None}
    assert len({each.run for each in found}) == len(attempts) + 2  # two nights that are finished


def test_a_plan_of_local_files_is_still_its_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Version 0.1.0 recorded `images` as it stood in the job, click files by their full address and sha256."""
    document = put_dataset(Store(str(tmp_path)), images=2)
    paths = {"images": "photos/", "clicks": "clicks/*.parquet", "output": "labels"}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(document | paths))
    identity = identity_of_0_1_0(tmp_path)
    canonical = json.dumps(identity, sort_keys=True).encode()
    plan = {"fingerprint": hashlib.sha256(canonical).hexdigest(), "identity": identity, "files": [], "shards": []}
    store = Store(str(tmp_path / "labels"))
    store.put("plan/plan.json", json.dumps(plan).encode())
    monkeypatch.chdir(tmp_path)  # 0.1.0 knew no other way to use relative paths
    assert find_or_make_plan(load_job("job.yaml")).fingerprint == plan["fingerprint"]


def test_what_was_begun_goes_on_at_its_working_size_unless_the_job_says_another(
    old: Path, inputs: dict[str, Any]
) -> None:
    """Version 0.1.0 worked at 1 megapixel where a job did not say otherwise, now it follows the grid."""
    job = job_of(inputs, old / "half_done", 1)
    plan = find_or_make_plan(job)
    assert (job.settings.working_pixels, as_planned(job, plan).settings.working_pixels) == ("auto", 1_000_000)
    assert settings_fingerprint(as_planned(job, plan)) == settings_fingerprint(
        job_of(inputs | {"settings": {"working_pixels": 1_000_000}}, old / "half_done", 1)
    )
    with pytest.raises(PlanMismatch, match=r"working_pixels: the plan has 1000000, the job has 'auto'"):
        find_or_make_plan(job_of(inputs | {"settings": {"working_pixels": "auto"}}, old / "half_done", 1))


def identity_of_0_1_0(directory: Path) -> dict[str, Any]:
    """The identity that 0.1.0 gives a job on the click files below `directory`, with relative paths."""
    clicks = {}
    for path in sorted((directory / "clicks").iterdir()):
        content = path.read_bytes()
        clicks[f"file://{path}"] = {"size": len(content), "etag": hashlib.sha256(content).hexdigest()}
    with tarfile.open(ARCHIVE) as archive:
        member = archive.extractfile("half_done/plan/plan.json")
        assert member is not None
        identity: dict[str, Any] = json.load(member)["identity"]
    return identity | {"clicks": clicks, "images": "photos"}


def nightly_of(inputs: Mapping[str, Any], library: Path, more_clicks: list[str]) -> Nightly:
    clicks = [inputs["images"].replace("photos/", "clicks/dt=*/"), *more_clicks]
    document = {**inputs, "clicks": clicks, "library": str(library), "shard_images": 1, "lease_expires_s": 1}
    return parse_nightly(document, "nightly.yaml")


def nights_until(nightly: Nightly, date: str) -> list[Any]:
    return run_nights(nightly, date, lambda job: nullcontext(), threading.Event(), lambda snapshot: None)
