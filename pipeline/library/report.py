"""How a night ended, for people, schedulers and monitors: good only if the library is."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Literal

from pipeline.acceptance import accept_failures, accepted_failures
from pipeline.config import Limits
from pipeline.library.changes import TRIES
from pipeline.library.index import Totals
from pipeline.library.settle import Diff
from pipeline.storage.store import Store

LAST_KEY = "last.json"

Outcome = Literal[
    "complete",
    "nothing_new",
    "too_many_failed",
    "too_many_removed",
    "complete_in_doubt",
    "aborted",
    "stopped_in_doubt",
    "stopped",
    "error",
]
EXIT_CODES: dict[Outcome, int] = {
    "complete": 0,
    "nothing_new": 0,
    "too_many_failed": 3,
    "too_many_removed": 3,
    "complete_in_doubt": 3,
    "stopped_in_doubt": 3,
    "aborted": 1,
    "stopped": 1,
    "error": 1,
}
UNFINISHED: tuple[Outcome, ...] = ("aborted", "stopped_in_doubt", "stopped")


@dataclass(frozen=True)
class NightReport:
    """How a night ended; also the library's `last.json`. `run` is the address of the night's folder."""

    date: str
    outcome: Outcome
    exit_code: int
    message: str
    run: str | None
    diff: Diff | None
    began: str
    ended: str


class TooManyRemoved(RuntimeError):
    """More objects would lose their mask than a night may remove; nothing was changed."""


def write_report(
    library: Store, date: str, outcome: Outcome, message: str, run: str | None, diff: Diff | None, began: str
) -> NightReport:
    """Make the report of a night that ends now and leave it as `last.json`."""
    ended = datetime.now(UTC).isoformat(timespec="seconds")
    report = NightReport(date, outcome, EXIT_CODES[outcome], message, run, diff, began, ended)
    library.put(LAST_KEY, json.dumps(asdict(report), indent=1).encode())
    return report


def judge(
    library: Store, outcome: Outcome, diff: Diff, totals: Totals, limits: Limits, accept: bool
) -> tuple[Outcome, str]:
    """The outcome of a night that went through, and what there is to say about it.

    Args:
        outcome: what it is if the library is good.
        totals: of the library after the night.
        accept: record that what fails now may stay without a mask.
    """
    failed, allowed = sum(totals.failed.values()), limits.max_failed_share
    if accept and failed:
        accept_failures(library, failed, totals.objects)
    if failed > allowed * totals.objects and failed > accepted_failures(library):
        reasons = ", ".join(f"{reason} {number}" for reason, number in totals.failed.items())
        return "too_many_failed", (
            f"{failed / totals.objects:.1%} of the library's {totals.objects} objects fail ({reasons}); allowed: "
            f"{allowed:.1%} (limits.max_failed_share). --retry-failed tries again what may pass, "
            "--accept-failures records that they may stay so"
        )
    given_up = f"{diff.given_up} failed on {TRIES} nights and are not tried any more (--retry-failed)"
    return outcome, given_up if diff.given_up else ""


def check_removed(removed: int, images_gone: int, totals: Totals, limits: Limits) -> None:
    """Raise TooManyRemoved where click files or images are missing, as it seems, by mistake.

    Args:
        removed: objects whose clicks are gone.
        images_gone: objects whose images are.
        totals: of the library before the night.
    """
    if removed + images_gone > limits.max_removed_share * totals.objects:
        raise TooManyRemoved(
            f"{removed} of the library's {totals.objects} objects have no clicks any more, and the images of "
            f"{images_gone} are gone; allowed: {limits.max_removed_share:.0%} (limits.max_removed_share). Nothing was "
            "changed. If they are meant to go, run this night once with --accept-removed"
        )
