"""`m2n2 label`: run or resume a job on a cluster or on this machine, and say how it ended."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.commands.options import Overrides, RayAddress
from jobs.commands.plan import plan
from jobs.console import progress_line, say
from jobs.notice import notice_of_errors, send_notice

if TYPE_CHECKING:
    from pipeline.config import Job
    from pipeline.driver.progress import Snapshot
    from pipeline.driver.run import Retry


def label(
    job: Annotated[str, typer.Argument(metavar="JOB.yaml")],
    overrides: Overrides = None,
    address: RayAddress = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="try failed objects again that may succeed now")
    ] = False,
    retry_all: Annotated[bool, typer.Option("--retry-all", help="try all failed objects again")] = False,
    accept_failures: Annotated[
        bool, typer.Option("--accept-failures", help="record that what failed may stay without a mask")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what a run would do: m2n2 plan")] = False,
) -> int:
    """Label a job's images: plan, run or resume, export.

    Example: m2n2 label job.yaml backbone.grid=64 --retry-failed
    """
    from pipeline.config import load_job

    if dry_run:
        return plan(job, overrides)
    retry: Retry | None = "all" if retry_all else "retryable" if retry_failed else None
    with notice_of_errors(f"label {job}"):
        return label_job(load_job(job, overrides or []), address, retry, accept_failures)


def label_job(
    job: Job,
    address: str | None = None,
    retry: Retry | None = None,
    accept: bool = False,
    show_progress: Callable[[Snapshot], None] | None = None,
) -> int:
    """Run a job on a cluster or on this machine and say how it ended; returns the exit code.

    Args:
        accept: record in the output that what failed may stay without a mask.
        show_progress: is told about twice a second how far the run is; None shows a line.
    """
    from jobs.cluster import connected
    from pipeline.driver.run import run
    from pipeline.forecast.rates import RateMeter, keep_rate
    from pipeline.plan import find_or_make_plan

    if job.report:
        from pipeline.review.report.report import check_installed

        check_installed()  # what the page needs, before hours of work
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    sealed = find_or_make_plan(job)  # before Ray starts: bad input is said at once
    meter = RateMeter()
    with nullcontext(show_progress) if show_progress else progress_line() as show:

        def on_progress(snapshot: Snapshot) -> None:
            meter(snapshot)
            show(snapshot)

        ray = partial(connected, job, address)
        result = run(job, retry=retry, stop=stop, on_progress=on_progress, plan=sealed, accept=accept, connect=ray)
    keep_rate(job, meter)
    reasons = ", ".join(f"{reason} {number}" for reason, number in result.failed.items())
    failed = f"{sum(result.failed.values())} failed{reasons and f' ({reasons})'}"
    text = f"{result.outcome}: {result.objects} objects, {failed}"
    say(text)
    outcome = {"outcome": result.outcome, "exit_code": result.exit_code, "run": job.output}
    send_notice({"text": f"m2n2 label {job.output} {text}"} | outcome)
    for line in filter(None, [result.message, *result.exports]):
        say(line)
    if job.report:
        from pipeline.review.report.report import report_at

        say(report_at(job.output_store, job.output_store))
    return result.exit_code
