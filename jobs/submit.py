"""`m2n2 submit`: start a job on a cluster through Ray Jobs, follow it, end with its exit code.

The code that runs there is the code that runs here: it travels with the job as `working_dir`, so the cluster needs
m2n2's dependencies and no internet. Credentials do not travel: they are the cluster's own.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import aiohttp
import requests
import yaml
from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from jobs.console import say
from pipeline.config import InvalidJob, Job, load_job
from pipeline.library.config import load_nightly

PACKAGES = ("m2n2", "pipeline", "jobs")
EXIT_INCOMPLETE = 1
ASK_AGAIN_S = 2.0
GIVE_UP_S = 600.0

log = logging.getLogger("m2n2.submit")
logging.getLogger("ray.dashboard.modules.job.sdk").setLevel(logging.WARNING)  # it logs every time a log ends


def submit(path: str, overrides: Sequence[str], address: str) -> int:
    """Start the job of a job.yaml or nightly.yaml, or attach to it where it runs already; returns its exit code.

    A job that ended before it was complete goes on where it was when it is submitted again.

    Args:
        overrides: `key=value`, for a job.yaml.
        address: of the cluster's dashboard, such as http://127.0.0.1:8265. Where the cluster asks for a token, it is
            taken from the environment as Ray does: RAY_AUTH_MODE=token with RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH.

    Raises:
        InvalidJob: the file, the address or the token is wrong.
    """
    # Ray lets these win over the address that it is given.
    for variable in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        os.environ.pop(variable, None)
    with tempfile.TemporaryDirectory(prefix="m2n2-submit-") as directory:
        job, command = _prepare(Path(directory), path, overrides)
        client = _client(address)
        submission_id = _start_or_attach(client, job.output, command, directory)
    try:
        details = _follow(client, submission_id)
    except KeyboardInterrupt:
        details = None
    if details is None:
        say(f"{submission_id} goes on without this terminal; submit again to follow it. To stop it:")
        say(f"ray job stop {submission_id} --address {address}")
        return EXIT_INCOMPLETE
    message = (details.message or "no message").splitlines()[0]  # of a failure Ray repeats the whole log
    say(f"{submission_id} {details.status.value.lower()}: {message}")
    if details.status == JobStatus.SUCCEEDED:
        return 0
    return details.driver_exit_code if details.driver_exit_code in (1, 2, 3) else EXIT_INCOMPLETE


def submission_name(output: str) -> str:
    """What the submissions of one output are called: its last folder for people, a digest for certainty."""
    last = re.sub(r"[^A-Za-z0-9_.-]+", "-", output.rstrip("/").rsplit("/", 1)[-1])
    return f"m2n2-{last[:40]}-{hashlib.sha256(output.rstrip('/').encode()).hexdigest()[:8]}"


def _prepare(directory: Path, path: str, overrides: Sequence[str]) -> tuple[Job, str]:
    """Fill the working directory with the code and the validated job; returns the job and the command to run."""
    source = Path(__file__).resolve().parents[1]
    for package in PACKAGES:
        shutil.copytree(source / package, directory / package, ignore=shutil.ignore_patterns("__pycache__"))
    if _is_nightly(path):
        if overrides:
            raise InvalidJob(f"{path}: found overrides {', '.join(overrides)}; a nightly takes none, edit the file")
        job = load_nightly(path).job
        shutil.copy(path, directory / "nightly.yaml")
        command = "python -m jobs.cli nightly nightly.yaml"
    else:
        job = load_job(path, overrides)
        (directory / "job.yaml").write_text(yaml.safe_dump(job.model_dump(mode="json")), encoding="utf-8")
        command = "python -m jobs.cli label job.yaml"
    for key, value in (("images", job.images), ("output", job.output)):
        if "://" not in value and not value.startswith("/"):
            raise InvalidJob(f"{path}: {key}: found {value!r}; allowed on a cluster: addresses and absolute paths")
    return job, command


def _is_nightly(path: str) -> bool:
    try:
        document = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return False  # load_job says what is wrong with it
    return isinstance(document, dict) and "library" in document


def _client(address: str) -> JobSubmissionClient:
    try:
        return JobSubmissionClient(address)
    except AuthenticationError as error:
        raise InvalidJob(f"--address {address}: the cluster refuses: {' '.join(str(error).split())}") from error
    except (ConnectionError, RuntimeError, ValueError, requests.RequestException) as error:
        raise InvalidJob(
            f"--address {address}: no Ray dashboard answers there: {' '.join(str(error).split())}"
        ) from error


def _start_or_attach(client: JobSubmissionClient, output: str, command: str, directory: str) -> str:
    """Ray takes an id once: every attempt at the same output gets the next number."""
    name = submission_name(output)
    while True:
        attempts = {_number(each.submission_id or "", name): each for each in client.list_jobs()}
        last = max(attempts, default=0)
        if last and not attempts[last].status.is_terminal():
            log.warning("%s-%d runs already: following it", name, last)
            return f"{name}-{last}"
        submission_id = f"{name}-{last + 1}"
        try:
            client.submit_job(
                entrypoint=command,
                submission_id=submission_id,
                runtime_env={"working_dir": directory},
                metadata={"output": output},
            )
        except RuntimeError as error:
            if "already exists" not in str(error):
                raise
            continue  # somebody else submitted the same job a moment ago
        say(f"{submission_id} submitted")
        return submission_id


def _number(submission_id: str, name: str) -> int:
    """Which attempt of `name` a submission is; 0 for another job's."""
    match = re.fullmatch(rf"{re.escape(name)}-(\d+)", submission_id)
    return int(match[1]) if match else 0


def _follow(client: JobSubmissionClient, submission_id: str) -> JobDetails | None:
    """Copy the job's log to standard error until the job ends; None where the cluster cannot be reached any more."""
    shown = 0
    answered_s = time.monotonic()
    while True:
        try:
            shown = asyncio.run(_show_log(client, submission_id, shown))
            details: JobDetails = client.get_job_info(submission_id)
            if details.status.is_terminal():
                return details
            answered_s = time.monotonic()
        except (RuntimeError, ConnectionError, aiohttp.ClientError, requests.RequestException) as error:
            if time.monotonic() - answered_s > GIVE_UP_S:
                log.error("the cluster has not answered for %.0f s: %s", GIVE_UP_S, error)
                return None
            log.warning("the connection to the cluster is gone, trying again: %s", error)
        time.sleep(ASK_AGAIN_S)


async def _show_log(client: JobSubmissionClient, submission_id: str, shown: int) -> int:
    """Show the log after its first `shown` characters, for as long as there is more; returns how many there are."""
    total = 0
    async for text in client.tail_job_logs(submission_id):
        sys.stderr.write(text[max(0, shown - total) :])
        sys.stderr.flush()
        total += len(text)
    return max(total, shown)
