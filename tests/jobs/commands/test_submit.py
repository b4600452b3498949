"""Which submission a job becomes, and what is refused before anything is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.job_submission import JobDetails, JobStatus, JobType

from jobs import ray_jobs
from jobs.cli import main
from jobs.commands.submit import submit
from jobs.ray_jobs import submission_name
from pipeline.config import InvalidJob
from pipeline.library.config import load_nightly, parse_nightly
from tests.s3_server import free_ports

JOB = {"images": "s3://b/photos/", "clicks": "s3://b/c.parquet", "output": "s3://b/labels/run 7/"}
NAME = submission_name(JOB["output"])


class FakeClient:
    """Knows some jobs; takes new ones and ends them at once."""

    def __init__(self, jobs: dict[str, JobStatus], taken_meanwhile: tuple[str, ...] = ()) -> None:
        self.jobs, self.taken_meanwhile = jobs, taken_meanwhile
        self.submitted: list[dict[str, Any]] = []
        self.files: set[str] = set()
        self.sent: dict[str, Any] = {}

    def list_jobs(self) -> list[JobDetails]:
        return [self._details(name, status) for name, status in self.jobs.items()]

    def submit_job(self, **request: Any) -> None:
        if request["submission_id"] in self.taken_meanwhile and request["submission_id"] not in self.jobs:
            self.jobs[request["submission_id"]] = JobStatus.RUNNING
            raise RuntimeError(f"Job with submission_id {request['submission_id']} already exists")
        directory = Path(request["runtime_env"]["working_dir"])
        self.files = {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}
        self.sent = yaml.safe_load((directory / request["entrypoint"].split()[-1]).read_text())
        self.submitted.append(request)
        self.jobs[request["submission_id"]] = JobStatus.RUNNING

    def get_job_info(self, name: str) -> JobDetails:
        return self._details(name, JobStatus.FAILED, 3)

    async def tail_job_logs(self, name: str) -> Any:
        for text in (f"log of {name}\n", "the end\n"):
            yield text

    def _details(self, name: str, status: JobStatus, code: int | None = None) -> JobDetails:
        kind = JobType.SUBMISSION
        return JobDetails(type=kind, submission_id=name, status=status, entrypoint="x", driver_exit_code=code)


@pytest.fixture
def job(tmp_path: Path) -> str:
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(JOB))
    return str(path)


def submit_to(client: FakeClient, path: str, monkeypatch: pytest.MonkeyPatch, *overrides: str) -> int:
    monkeypatch.setattr(ray_jobs, "JobSubmissionClient", lambda address: client)
    return submit(path, "http://nowhere", list(overrides))


def test_the_name_tells_people_and_machines_which_output_it_is() -> None:
    assert NAME.startswith("m2n2-run-7-")
    assert submission_name("s3://b/labels/run 7") == NAME
    assert submission_name("s3://other/labels/run 7") != NAME


def test_a_job_is_sent_with_its_code_and_ends_with_its_code(
    job: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    client = FakeClient({"somebody-elses": JobStatus.RUNNING})
    assert submit_to(client, job, monkeypatch, "backbone.grid=64") == 3
    (request,) = client.submitted
    assert (request["submission_id"], request["entrypoint"]) == (f"{NAME}-1", "python -m jobs.cli label job.yaml")
    assert {"job.yaml", "jobs/cli.py", "pipeline/driver/run.py", "m2n2/scene.py"} <= client.files
    assert not any("__pycache__" in name for name in client.files)
    said = capsys.readouterr()
    assert said.err.count("the end") == 1, "the log is shown once, however often it is asked for"


def test_submitted_again_it_follows_what_runs_and_numbers_what_ended(job: str, monkeypatch: pytest.MonkeyPatch) -> None:
    running = FakeClient({f"{NAME}-1": JobStatus.FAILED, f"{NAME}-2": JobStatus.RUNNING})
    submit_to(running, job, monkeypatch)
    assert running.submitted == []
    ended = FakeClient({f"{NAME}-{number}": JobStatus.STOPPED for number in (9, 10)})
    submit_to(ended, job, monkeypatch)
    assert [request["submission_id"] for request in ended.submitted] == [f"{NAME}-11"]
    contended = FakeClient({}, taken_meanwhile=(f"{NAME}-1",))
    submit_to(contended, job, monkeypatch)
    assert contended.submitted == []


def test_a_nightly_is_sent_as_a_nightly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "any-name.yaml"
    document = {key: value for key, value in JOB.items() if key != "output"} | {"library": "s3://$BUCKET/library/"}
    monkeypatch.setenv("BUCKET", "b")  # here, not on the cluster
    path.write_text(yaml.safe_dump(document))
    client = FakeClient({})
    submit_to(client, str(path), monkeypatch)
    assert client.submitted[0]["entrypoint"] == "python -m jobs.cli nightly nightly.yaml"
    assert client.sent["library"] == "s3://b/library/"
    assert parse_nightly(client.sent, "sent") == load_nightly(path)
    with pytest.raises(InvalidJob, match="a nightly takes none"):
        submit_to(client, str(path), monkeypatch, "backbone.grid=64")


def test_what_cannot_work_on_a_cluster_is_refused(job: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for key, found in (("output", "labels/"), ("clicks", "c.parquet"), ("images", "~/photos")):
        with pytest.raises(InvalidJob, match=f"{key}: found '{found}'; allowed on a cluster: addresses and absolute"):
            submit_to(FakeClient({}), job, monkeypatch, f"{key}={found}")


def test_an_address_where_nobody_answers_is_bad_usage(job: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["submit", job, "--address", f"http://127.0.0.1:{free_ports(1)[0]}"]) == 2
    assert "no Ray dashboard answers there" in capsys.readouterr().err
