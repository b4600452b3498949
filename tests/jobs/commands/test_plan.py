"""`m2n2 plan` and `m2n2 label --dry-run`, and where their figures come from."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs.cli import main
from pipeline.config import Job
from pipeline.driver.progress import Snapshot
from pipeline.driver.run import RunResult
from pipeline.storage.store import Store
from pipeline.tasks import Progress
from tests.pipeline.make_data import put_dataset


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("M2N2_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(put_dataset(Store(str(tmp_path)), images=3)))
    return path


def test_it_says_what_a_run_would_do(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(job), "shard_images=1"]) == 0
    said = capsys.readouterr().out
    for text in ("images    3 with clicks", "objects   6, clicks each: 1", "red 3, blue 3", "shards    3 of at most 1"):
        assert text in said
    assert "96 px wide, 72 px high" in said
    assert "time      unknown: no run of this backbone, grid and device was measured yet" in said
    assert not (job.parent / "labels").exists()
    assert main(["label", str(job), "shard_images=1", "--dry-run"]) == 0
    assert capsys.readouterr().out == said


def test_it_warns_where_a_gpu_would_wait_for_the_cpu(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    on_gpus = [
        "plan",
        str(job),
        "backbone.name=sd2",
        "backbone.grid=128",
        "backbone.sha256='" + 64 * "0" + "'",
        "workers.gpus=1",
    ]
    assert main([*on_gpus, "workers.cpus=1"]) == 0
    said = capsys.readouterr().out
    assert "core-seconds an image beside the GPU (0.01 megapixels, 2 clicks)" in said
    assert "workers.cpus is 1: too few for A100 80 GB, H100 SXM" in said
    assert main([*on_gpus, "workers.cpus=64"]) == 0
    assert "too few" not in capsys.readouterr().out
    assert main([*on_gpus, "workers.cpus=auto"]) == 0
    said = capsys.readouterr().out
    assert "too few" not in said
    assert "workers.cpus is auto: what the cluster's card needs, at most what a node has for each worker" in said
    assert main(["plan", str(job), "workers.cpus=auto"]) == 0
    assert (
        "workers.cpus is auto: 1, nothing was reckoned: this backbone or device is not known, or none of"
        in capsys.readouterr().out
    )


def test_a_job_that_label_would_refuse_ends_with_2(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (job.parent / "clicks" / "a.parquet").write_bytes(b"not Parquet")
    assert main(["plan", str(job)]) == 2
    assert "a.parquet" in capsys.readouterr().err


def test_an_output_of_another_job_ends_with_2(
    job: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_without_ray(monkeypatch)
    assert main(["label", str(job)]) == 0
    assert main(["plan", str(job), "orientation=displayed"]) == 2
    assert "orientation: the plan has 'stored', the job has 'displayed'" in capsys.readouterr().out


def test_a_run_measures_its_rate_and_a_plan_uses_it(
    job: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_without_ray(monkeypatch)
    assert main(["label", str(job)]) == 0
    capsys.readouterr()
    assert main(["plan", str(job), "--json", "output=labels-2", "workers.count=2"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["rate"]["images"], found["rate"]["output"]) == (20, f"{job.parent}/labels/")
    rate = found["rate"]["images"] / found["rate"]["worker_seconds"]
    assert found["seconds"] == pytest.approx(3 / rate / 2)  # two workers
    assert found["gpu_hours"] == 0
    assert main(["plan", str(job), "output=labels-2"]) == 0
    assert f"as {job.parent}/labels/ measured over 20 images on " in capsys.readouterr().out


def run_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """`m2n2 label` whose run only reports: 1 image done at first, 21 ten seconds later, by two workers."""
    seconds = iter([100.0, 110.0])

    def run(job: Job, on_progress: Callable[[Snapshot], None], **options: Any) -> RunResult:
        with monkeypatch.context() as clock:
            clock.setattr("time.monotonic", lambda: next(seconds))
            for images in (1, 21):
                on_progress(Snapshot(21, 42, 0, 3, 0, workers=2, progress=Progress(images=images), began_s=0.0))
        return RunResult("complete", "", 42, {}, 10.0, [])

    monkeypatch.setattr("pipeline.driver.run.run", run)
    monkeypatch.setattr("jobs.cluster.connected", lambda job, address: nullcontext())
    monkeypatch.setattr("jobs.console.ProgressLine.__call__", lambda self, snapshot: None)
