"""`m2n2 submit`: start a job on a cluster through Ray Jobs, follow it, end with its exit code.

The code that runs there is the code that runs here: it travels with the job as `working_dir`, so the cluster needs
m2n2's dependencies and no internet. Credentials do not travel: they are the cluster's own.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.commands.options import Overrides
from jobs.console import say
from jobs.exit_codes import BAD_INPUT, COMPLETE, INCOMPLETE, NEEDS_A_PERSON

if TYPE_CHECKING:
    from pipeline.config import Job

PACKAGES = ("m2n2", "pipeline", "jobs")


def submit(
    job: Annotated[str, typer.Argument(metavar="JOB.yaml", help="a job, or a nightly configuration")],
    address: Annotated[str, typer.Option(metavar="URL", help="the dashboard, such as http://127.0.0.1:8265")],
    overrides: Overrides = None,
) -> int:
    """Label or do a night on a cluster, follow it, resume it.

    Where the cluster asks for a token, it is taken from the environment as Ray does: RAY_AUTH_MODE=token with
    RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH. A job that ended before it was complete goes on where it was when it is
    submitted again.

    Example: m2n2 submit job.yaml workers.count=16 --address http://127.0.0.1:8265
    """
    from ray.job_submission import JobStatus

    from jobs.ray_jobs import connect_to_dashboard, follow, start_or_attach

    with tempfile.TemporaryDirectory(prefix="m2n2-submit-") as directory:
        validated, command = _prepare(Path(directory), job, overrides or [])
        client = connect_to_dashboard(address)
        submission_id = start_or_attach(client, validated.output, command, directory)
    try:
        details = follow(client, submission_id)
    except KeyboardInterrupt:
        details = None
    if details is None:
        say(f"{submission_id} goes on without this terminal; submit again to follow it. To stop it:")
        say(f"ray job stop {submission_id} --address {address}")
        return INCOMPLETE
    message = (details.message or "no message").splitlines()[0]  # of a failure Ray repeats the whole log
    say(f"{submission_id} {details.status.value.lower()}: {message}")
    if details.status == JobStatus.SUCCEEDED:
        return COMPLETE
    code = details.driver_exit_code
    return code if code in (INCOMPLETE, BAD_INPUT, NEEDS_A_PERSON) else INCOMPLETE


def _prepare(directory: Path, path: str, overrides: Sequence[str]) -> tuple[Job, str]:
    """Fill the working directory with the code and the validated job; returns the job and the command to run."""
    import yaml

    from pipeline.config import InvalidJob, load_job
    from pipeline.library.config import load_nightly

    source = Path(__file__).resolve().parents[2]
    for package in PACKAGES:
        shutil.copytree(source / package, directory / package, ignore=shutil.ignore_patterns("__pycache__"))
    if _is_nightly(path):
        if overrides:
            raise InvalidJob(f"{path}: found overrides {', '.join(overrides)}; a nightly takes none, edit the file")
        night = load_nightly(path)
        job = night.job
        document = job.model_dump(mode="json", exclude={"output"}) | night.growth.model_dump(mode="json")
        (directory / "nightly.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
        command = "python -m jobs.cli nightly nightly.yaml"
    else:
        job = load_job(path, overrides)
        (directory / "job.yaml").write_text(yaml.safe_dump(job.model_dump(mode="json")), encoding="utf-8")
        command = "python -m jobs.cli label job.yaml"
    for key, written in job.as_written.items():
        raise InvalidJob(f"{path}: {key}: found {written!r}; allowed on a cluster: addresses and absolute paths")
    return job, command


def _is_nightly(path: str) -> bool:
    import yaml

    try:
        document = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return False  # load_job says what is wrong with it
    return isinstance(document, dict) and "library" in document
