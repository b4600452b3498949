"""Submissions to a Ray cluster through its dashboard: start one or find the one that runs, and follow it to its end."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import re
import sys
import time

import aiohttp
import requests
from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobSubmissionClient

from jobs.console import say
from pipeline.config import InvalidJob

ASK_AGAIN_S = 2.0
GIVE_UP_S = 600.0

log = logging.getLogger("m2n2.submit")
logging.getLogger("ray.dashboard.modules.job.sdk").setLevel(logging.WARNING)  # it logs every time a log ends


def connect_to_dashboard(address: str) -> JobSubmissionClient:
    """A client of the dashboard at `address`. Raises InvalidJob where none answers or the token is wrong."""
    # Ray lets these win over the address that it is given.
    for variable in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        os.environ.pop(variable, None)
    try:
        return JobSubmissionClient(address)
    except AuthenticationError as error:
        raise InvalidJob(f"--address {address}: the cluster refuses: {' '.join(str(error).split())}") from error
    except (ConnectionError, RuntimeError, ValueError, requests.RequestException) as error:
        raise InvalidJob(
            f"--address {address}: no Ray dashboard answers there: {' '.join(str(error).split())}"
        ) from error


def submission_name(output: str) -> str:
    """What the submissions of one output are called: its last folder for people, a digest for certainty."""
    last = re.sub(r"[^A-Za-z0-9_.-]+", "-", output.rstrip("/").rsplit("/", 1)[-1])
    return f"m2n2-{last[:40]}-{hashlib.sha256(output.rstrip('/').encode()).hexdigest()[:8]}"


def start_or_attach(client: JobSubmissionClient, output: str, command: str, directory: str) -> str:
    """Submit `command` with what is in `directory`, or find the submission that runs; returns its id.

    Ray takes an id once: every attempt at the same output gets the next number.
    """
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


def follow(client: JobSubmissionClient, submission_id: str) -> JobDetails | None:
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


def _number(submission_id: str, name: str) -> int:
    """Which attempt of `name` a submission is; 0 for another job's."""
    match = re.fullmatch(rf"{re.escape(name)}-(\d+)", submission_id)
    return int(match[1]) if match else 0


async def _show_log(client: JobSubmissionClient, submission_id: str, shown: int) -> int:
    """Show the log after its first `shown` characters, for as long as there is more; returns how many there are."""
    total = 0
    async for text in client.tail_job_logs(submission_id):
        sys.stderr.write(text[max(0, shown - total) :])
        sys.stderr.flush()
        total += len(text)
    return max(total, shown)
