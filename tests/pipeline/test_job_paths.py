"""Paths in a job's file: relative to the file, `~` and `$VARIABLES` expanded, and old outputs found as they were."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pipeline.config import InvalidJob, Job, load_job
from pipeline.inputs.identity import make_identity
from pipeline.library.config import load_nightly
from pipeline.plan import find_or_make_plan, load_plan, read_shard
from pipeline.storage.store import Store
from tests.pipeline.make_data import click_rows, parquet, put_dataset

RELATIVE = {"images": "photos/", "clicks": "clicks/*.parquet", "output": "labels/"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with photos, clicks and a job.yaml that names them by relative paths."""
    folder = tmp_path / "project"
    document = put_dataset(Store(str(folder)), images=1) | RELATIVE
    (folder / "job.yaml").write_text(yaml.safe_dump(document))
    return folder


def load(folder: Path, text: str, *overrides: str) -> Job:
    (folder / "job.yaml").write_text(text)
    return load_job(folder / "job.yaml", overrides)


def test_a_job_means_the_same_wherever_it_is_started(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    plan = find_or_make_plan(load_job("job.yaml"))
    assert (folder / "labels" / "plan" / "plan.json").exists()
    monkeypatch.chdir(tmp_path)
    for path in ("project/job.yaml", folder / "job.yaml", folder / ".." / "project" / "job.yaml"):
        job = load_job(path)
        assert find_or_make_plan(job) == plan
        assert job.image_store.read("0000.png") == (folder / "photos" / "0000.png").read_bytes()
    assert list(tmp_path.iterdir()) == [folder], "nothing was written beside the working directory"


def test_the_identity_of_a_relative_job_is_what_it_always_was(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Version 0.1.0 wrote images as the file has them and absolute names of click files into plans and ledgers."""
    monkeypatch.chdir(folder.parent)
    job = load_job("project/job.yaml")
    plan = find_or_make_plan(job)
    assert plan.identity["images"] == "photos"
    assert list(plan.identity["clicks"]) == [f"file://{folder}/clicks/{name}.parquet" for name in "ab"]
    assert make_identity(job.model_copy(update={"output": "elsewhere"}), [])["images"] == "photos"


def test_a_night_means_the_same_wherever_it_is_started(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    path = folder / "nightly.yaml"
    path.write_text("{library: labels/, images: photos, clicks: clicks/dt=*/, backbone: {name: colour}}")
    night = load_nightly(path)
    assert (night.growth.library, night.job.output) == (f"{folder}/labels/", f"{folder}/labels/")
    assert night.job.click_patterns == [f"{folder}/clicks/dt=*/"]
    assert make_identity(night.job, [])["images"] == "photos"


def test_variables_and_home_are_expanded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("BUCKET", "photos-eu")
    monkeypatch.setenv("SERVER", "http://127.0.0.1:9000")
    text = """
        images: s3://${BUCKET}/a
        clicks: [~/c.parquet, $BUCKET/d.parquet]
        output: /out/a$$b
        storage: {endpoint_url: $SERVER}
        backbone: {name: colour}
    """
    job = load(folder, text)
    assert (job.images, job.output) == ("s3://photos-eu/a", "/out/a$b")
    assert job.clicks == ["/home/ada/c.parquet", f"{folder}/photos-eu/d.parquet"]
    assert job.storage.endpoint_url == "http://127.0.0.1:9000"
    assert make_identity(job, [])["images"] == "s3://photos-eu/a"


def test_a_variable_that_is_not_set_is_one_line_a_key(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOWHERE", raising=False)
    text = "{images: $NOWHERE/a, clicks: [b, '${NOWHERE}'], output: /out/$}"
    with pytest.raises(InvalidJob) as refused:
        load(folder, text)
    lines = str(refused.value).splitlines()
    assert [line.split(": ")[1] for line in lines] == ["images", "clicks.1", "output"]
    assert "job.yaml: images: found '$NOWHERE/a': $NOWHERE is not set in the environment" in lines[0]
    assert load(folder, text, "images=x", "clicks=y", "output=z").images == f"{Path.cwd()}/x"


def test_what_is_typed_is_relative_to_where_it_is_typed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "model").mkdir()
    monkeypatch.chdir(folder.parent)
    job = load_job(folder / "job.yaml", ["output=labels-2", "backbone={name: dinov2, weights: ./model}"])
    assert job.images == f"{folder}/photos/"
    assert (job.output, job.backbone.weights) == (f"{folder.parent}/labels-2", f"{folder.parent}/model")


@pytest.mark.parametrize(
    ("backbone", "weights"),
    [
        ("{name: dinov2, weights: model}", "FOLDER/model"),
        ("{name: dinov2, weights: ./elsewhere}", "FOLDER/elsewhere"),
        ("{name: dinov2, weights: dinov2-small}", "dinov2-small"),
        ("{name: dinov2, weights: facebook/dinov2-small}", "facebook/dinov2-small"),
        ("{name: 'my.module:Model', weights: model}", "model"),
    ],
)
def test_weights_are_a_path_where_a_directory_is(folder: Path, backbone: str, weights: str) -> None:
    (folder / "model").mkdir()
    job = load(folder, f"{{images: a, clicks: b, output: c, backbone: {backbone}}}")
    assert job.backbone.weights == weights.replace("FOLDER", str(folder))


@pytest.mark.parametrize("name", ["0000.png", "photos/0000.png", "FOLDER/photos/0000.png"])
def test_clicks_name_images_in_every_spelling(folder: Path, name: str) -> None:
    (folder / "clicks" / "b.parquet").unlink()
    (folder / "clicks" / "a.parquet").write_bytes(parquet(click_rows(name.replace("FOLDER", str(folder)))))
    job = load_job(folder / "job.yaml")
    find_or_make_plan(job)
    plan = load_plan(job.output_store)
    assert plan is not None
    (image,) = read_shard(job.output_store, plan, 0)
    assert image.image == "0000.png"
    assert not any(each.failure for each in image.objects)
