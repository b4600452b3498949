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
from pipeline.config import InvalidJob, load_job, parse_job
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


def submit_to(
    client: FakeClient, path: str, monkeypatch: pytest.MonkeyPatch, *overrides: str, ship_with: list[str] | None = None
) -> int:
    monkeypatch.setattr(ray_jobs, "JobSubmissionClient", lambda address: client)
    return submit(path, "http://nowhere", list(overrides), ship_with)


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
    assert {"job.yaml", "jobs/cli.py", "pipeline/driver/run.py", "m2n2/scene/scene.py"} <= client.files
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


def test_a_job_that_is_sent_states_what_its_file_states_and_no_more(job: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Orientation that nobody stated is doubted; a working size that nobody stated may be an older version's."""
    client = FakeClient({})
    submit_to(client, job, monkeypatch, "settings.temperature=0.7", "workers.count=2")
    sent = parse_job(client.sent, "sent")
    assert sent == load_job(job, ["settings.temperature=0.7", "workers.count=2"])
    assert (sent.orientation_is_stated, sent.states_working_pixels) == (False, False)
    again = FakeClient({})
    submit_to(again, job, monkeypatch, "settings.working_pixels=1000000", "orientation=stored")
    sent = parse_job(again.sent, "sent")
    assert (sent.orientation_is_stated, sent.states_working_pixels) == (True, True)


def test_a_backbone_of_ones_own_travels_and_what_travels_is_said(
    job: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    package = tmp_path / "my_package"
    for name in ("__init__.py", "deep/model.py", "deep/config.json", ".gitignore", "__pycache__/x.pyc"):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text("12345\n")
    (tmp_path / "my_backbone.py").write_text("import my_package\n")
    client = FakeClient({})
    shipped = [str(tmp_path / "my_backbone.py"), f"{package}/"]
    submit_to(client, job, monkeypatch, "backbone.name=my_backbone:make", ship_with=shipped)
    ours = {name for name in client.files if not name.startswith(("m2n2/", "pipeline/", "jobs/"))}
    in_package = {"my_package/__init__.py", "my_package/deep/model.py", "my_package/deep/config.json"}
    assert ours == {"job.yaml", "my_backbone.py", *in_package}
    said = capsys.readouterr()
    assert f"ships {shipped[0]}: 1 files, 18 bytes: my_backbone.py" in said.err + said.out
    assert f"ships {shipped[1]}: 3 files, 18 bytes: my_package/__init__.py, my_package/deep/" in said.err + said.out


def test_a_backbone_that_stays_here_is_a_warning(
    job: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    submit_to(FakeClient({}), job, monkeypatch, "backbone.name=my_package.deep:make")
    assert "my_package does not travel with this job" in caplog.text


@pytest.mark.parametrize(("name", "content", "message"), [
    ("gone.py", None, "there is no such file or folder"),
    ("weights.bin", "x", "found weights.bin; allowed: a .py file, or a package's folder"),
    ("my-backbone.py", "x", "Python cannot import 'my-backbone.py'; allowed: a name such as my_backbone"),
    ("m2n2.py", "x", "would hide the module m2n2 of m2n2 or Python"),
    ("random.py", "x", "would hide the module random of m2n2 or Python"),
    ("images/a.png", "x", "found no Python file in it"),
    ("large/model.py", "x" * 101, "101 bytes in all; allowed: 100. Weights belong into the bucket"),
    ("dangling/model.py", Path("/nowhere/at/all"), "cannot be read: .* No such file"),
])  # fmt: skip
def test_what_cannot_travel_is_refused_in_one_line(
    job: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: str | Path | None, message: str
) -> None:
    monkeypatch.setattr("jobs.shipping.LARGEST_BYTES", 100)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    if isinstance(content, Path):
        (tmp_path / name).symlink_to(content)
    elif content:
        (tmp_path / name).write_text(content)
    path = tmp_path / name.partition("/")[0]
    client = FakeClient({})
    with pytest.raises(InvalidJob, match=f"^--with {path}: .*{message}") as refused:
        submit_to(client, job, monkeypatch, ship_with=[str(path)])
    assert "\n" not in str(refused.value)
    assert client.submitted == []


def test_two_modules_of_one_name_are_refused(job: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text("")
    with pytest.raises(InvalidJob, match="a second mine"):
        submit_to(FakeClient({}), job, monkeypatch, ship_with=[str(tmp_path / "mine.py")] * 2)


def test_an_address_where_nobody_answers_is_bad_usage(job: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["submit", job, "--address", f"http://127.0.0.1:{free_ports(1)[0]}"]) == 2
    assert "no Ray dashboard answers there" in capsys.readouterr().err
