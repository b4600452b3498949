"""`m2n2 init`: a job file that runs as it stands, from wherever it was written."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from jobs.cli import main
from pipeline.config import load_job, parse_job
from pipeline.storage.store import Store
from tests.pipeline.make_data import put_dataset


def test_it_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = put_dataset(Store(str(tmp_path)), images=1)
    monkeypatch.chdir(tmp_path)
    assert main(["init", "--clicks", "clicks/*.parquet"]) == 0
    job = load_job("job.yaml")
    assert (job.images, job.clicks, job.output) == (document["images"], document["clicks"], document["output"])
    assert (job.backbone.name, job.backbone.weights, job.workers.gpus) == ("dinov2", "dinov2-small", 0)
    assert main(["plan", "job.yaml", "backbone={name: colour, grid: 16}"]) == 0


def test_what_is_commented_out_is_right_too(tmp_path: Path) -> None:
    assert main(["init", str(tmp_path / "job.yaml")]) == 0
    text = (tmp_path / "job.yaml").read_text()
    lines = [line.removeprefix("#") for line in text.splitlines()]
    everything = {}
    for line in lines:
        if line and not line.startswith(" "):
            everything |= yaml.safe_load(line)
    job = parse_job(everything, "job.yaml")
    assert (job.backbone.name, job.workers.gpus) == ("sd2", 1)
    as_it_stands = parse_job(yaml.safe_load(text), "job.yaml")
    defaults = {"backbone": job.backbone, "workers": job.workers}
    assert as_it_stands.model_copy(update=defaults) == job, "a comment says another default than the program has"


def test_paths_are_those_that_were_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "jobs").mkdir()
    monkeypatch.chdir(tmp_path)
    paths = ["--images", "my photos: 1/", "--clicks", "s3://b/c.parquet", "--output", "/out/$$1"]
    assert main(["init", "jobs/first.yaml", *paths]) == 0
    job = load_job("jobs/first.yaml")
    assert Path(job.images).resolve() == tmp_path / "my photos: 1"
    assert (job.clicks, job.output) == ("s3://b/c.parquet", "/out/$1")


def test_a_file_is_never_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "job.yaml"
    path.write_text("precious")
    assert main(["init", str(path)]) == 2
    assert path.read_text() == "precious"
    assert main(["init", str(tmp_path / "nowhere" / "job.yaml")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2
