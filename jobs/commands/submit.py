"""`m2n2 submit`: start a job on a cluster through Ray Jobs, follow it, end with its exit code.

The code that runs there is the code that runs here: it travels with the job as `working_dir`, so the cluster needs
m2n2's dependencies and no internet. Credentials do not travel: they are the cluster's own.
"""

from __future__ import annotations

import logging
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

log = logging.getLogger("m2n2.submit")


def submit(
    job: Annotated[str, typer.Argument(metavar="JOB.yaml", help="a job, or a nightly configuration")],
    address: Annotated[str, typer.Option(metavar="URL", help="the dashboard, such as http://127.0.0.1:8265")],
    overrides: Overrides = None,
    ship_with: Annotated[
        list[str] | None,
        typer.Option("--with", metavar="PATH", help="a module of yours, such as my_backbone.py or a package's folder"),
    ] = None,
) -> int:
    """Label or do a night on a cluster, follow it, resume it.

    Where the cluster asks for a token, it is taken from the environment as Ray does: RAY_AUTH_MODE=token with
    RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH. A job that ended before it was complete goes on where it was when it is
    submitted again. Your own backbone's module travels with --with PATH, once for each.

    Example: m2n2 submit job.yaml workers.count=16 --address http://127.0.0.1:8265
    """
    from ray.job_submission import JobStatus

    from jobs.ray_jobs import connect_to_dashboard, follow, start_or_attach

    with tempfile.TemporaryDirectory(prefix="m2n2-submit-") as directory:
        validated, command = _prepare(Path(directory), job, overrides or [], ship_with or [])
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


def _prepare(directory: Path, path: str, overrides: Sequence[str], ship_with: Sequence[str]) -> tuple[Job, str]:
    """Fill the working directory with the code and the validated job; returns the job and the command to run."""
    import yaml

    from jobs.shipping import ship
    from pipeline.config import InvalidJob
    from pipeline.library.config import Nightly, load_job_or_nightly

    loaded = load_job_or_nightly(path, overrides)
    job = loaded.job if isinstance(loaded, Nightly) else loaded
    ship(ship_with, directory)
    _warn_of_a_backbone_that_stays_here(job, ship_with)
    if isinstance(loaded, Nightly):
        document = {key: value for key, value in job.stated().items() if key != "output"} | loaded.growth.model_dump(
            mode="json"
        )
        (directory / "nightly.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
        command = "python -m jobs.cli nightly nightly.yaml"
    else:
        (directory / "job.yaml").write_text(yaml.safe_dump(job.stated()), encoding="utf-8")
        command = "python -m jobs.cli label job.yaml"
    for key, written in job.as_written.items():
        raise InvalidJob(f"{path}: {key}: found {written!r}; allowed on a cluster: addresses and absolute paths")
    return job, command


def _warn_of_a_backbone_that_stays_here(job: Job, ship_with: Sequence[str]) -> None:
    module, separator, _ = job.backbone.name.partition(":")
    top = module.partition(".")[0]
    if separator and top not in {Path(path).absolute().stem for path in ship_with}:
        log.warning(
            "backbone.name %s: %s does not travel with this job, so every node has to have it; --with PATH ships it",
            *(job.backbone.name, top),
        )
