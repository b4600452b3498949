"""`m2n2 nightly`: wires pipeline/library to the command line, to Ray, to signals and to the notice."""

from __future__ import annotations

import re
import signal
import threading
from contextlib import AbstractContextManager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.commands.options import RayAddress
from jobs.console import progress_line, say
from jobs.notice import notice_of_errors, send_notice

if TYPE_CHECKING:
    from pipeline.config import Job
    from pipeline.library.config import Nightly
    from pipeline.library.nights import Wishes
    from pipeline.library.report import NightReport

DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


def nightly(
    config: Annotated[str, typer.Argument(metavar="NIGHTLY.yaml")],
    date: Annotated[
        str | None, typer.Option(metavar="YYYY-MM-DD", help="the day tonight stands for; default: today in UTC")
    ] = None,
    address: RayAddress = None,
    wait_for_lease: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="how long to wait for another driver's lease")
    ] = 0.0,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="try once more what has failed too often to be tried every night")
    ] = False,
    accept_failures: Annotated[
        bool, typer.Option("--accept-failures", help="record that what fails may stay without a mask")
    ] = False,
    accept_removed: Annotated[
        bool, typer.Option("--accept-removed", help="go on although more than limits.max_removed_share is gone")
    ] = False,
) -> int:
    """Label what is new or changed since the last night.

    Example: m2n2 nightly nightly.yaml --date 2026-10-03
    """
    from pipeline.library.nights import Wishes

    with notice_of_errors(f"nightly {config}"):
        return _nightly(config, date, address, Wishes(wait_for_lease, retry_failed, accept_failures, accept_removed))


def _nightly(config: str, date: str | None, address: str | None, wishes: Wishes) -> int:
    from pipeline.library.config import load_nightly
    from pipeline.library.nights import run_nights

    night = load_nightly(config)
    if night.job.report:
        from pipeline.review.report.report import check_installed

        check_installed()  # what the page needs, before hours of work
    date = _checked_date(date)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())

    def connect(job: Job) -> AbstractContextManager[None]:
        from jobs.cluster import connected  # a night with nothing new does without Ray

        return connected(job, address)

    with progress_line() as show:
        reports = run_nights(night, date, connect, stop, show, wishes)
    for report in reports:
        text = report_text(report)
        say(text)
        if report.outcome != "nothing_new":
            send_notice({"text": f"m2n2 nightly {night.growth.library} {text}"} | asdict(report))
    _make_page(night, reports[-1])
    return max(report.exit_code for report in reports)


def _make_page(night: Nightly, report: NightReport) -> None:
    """The library's page as the night left it, in the night's folder."""
    if night.job.report and report.diff and report.run:
        from pipeline.review.report.report import report_at
        from pipeline.storage.store import Store

        say(report_at(night.store, Store(report.run, night.job.storage)))


def report_text(report: NightReport) -> str:
    """What a night did, in one line for people."""
    parts = [f"{report.date}: {report.outcome.replace('_', ' ')}"]
    if report.diff:
        diff = report.diff
        parts.append(f"{diff.new} new, {diff.changed} changed, {diff.restored} restored, {diff.removed} removed")
        if diff.retried:
            parts.append(f"{diff.retried} tried again")
        parts.append(f"{diff.unchanged} unchanged")
        if diff.mean_iou is not None:
            parts.append(f"mean IoU of changed masks {diff.mean_iou:.3f}")
        failed = ", ".join(f"{reason} {number}" for reason, number in diff.failed.items())
        parts.append(f"{sum(diff.failed.values())} failed{failed and f' ({failed})'}")
    return "; ".join([*parts, *filter(None, [report.message, report.run])])


def _checked_date(date: str | None) -> str:
    if date is None:
        return datetime.now(UTC).date().isoformat()
    from pipeline.config import InvalidJob

    if not DATE.fullmatch(date):
        raise InvalidJob(f"--date: found {date!r}; allowed: YYYY-MM-DD")
    try:
        datetime.strptime(date, "%Y-%m-%d")
    except ValueError:
        raise InvalidJob(f"--date: found {date!r}; allowed: a day of the calendar as YYYY-MM-DD") from None
    return date
