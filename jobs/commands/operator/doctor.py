"""`m2n2 doctor`: whether a job would run, before it does: storage, clocks, versions, weights, a photo on every node."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.commands.options import DryRun, Overrides, RayAddress
from jobs.console import say
from jobs.exit_codes import COMPLETE, INCOMPLETE

if TYPE_CHECKING:
    from pipeline.worker.examine import Check


def doctor(
    job: Annotated[str, typer.Argument(metavar="JOB.yaml", help="a job, or a nightly configuration")],
    overrides: Overrides = None,
    address: RayAddress = None,
    as_json: Annotated[bool, typer.Option("--json", help="as one JSON object")] = False,
    dry_run: DryRun = False,
) -> int:
    """Look whether a job would run: at its storage, and at every node that could hold a worker, a photo end to end.

    It ends with 1 where something would not do. The last table stands in the output, status/doctor.json.

    Example: m2n2 doctor job.yaml --address 10.0.0.7:6379
    """
    from jobs.cluster import connected
    from pipeline.driver.doctor import DRIVER, examine_run, first_object, record
    from pipeline.library.config import Nightly, load_job_or_nightly

    loaded = load_job_or_nightly(job, overrides or [])
    checked = loaded.job if isinstance(loaded, Nightly) else loaded
    if dry_run:
        say(f"would look at {checked.output}, and at every node of {address or 'the cluster'}")
        return COMPLETE
    photo = first_object(checked)  # before Ray starts: bad input is said at once
    with connected(checked, address):
        found = examine_run(checked, photo)
    if all(check.ok for check in found[DRIVER]):
        record(checked, found)
    as_mapping = {place: [asdict(check) for check in checks] for place, checks in found.items()}
    say(json.dumps(as_mapping) if as_json else "\n".join(_lines(found)))
    return COMPLETE if all(check.ok for checks in found.values() for check in checks) else INCOMPLETE


def _lines(found: Mapping[str, Sequence[Check]]) -> Iterator[str]:
    rows = [(place, check) for place, checks in found.items() for check in checks]
    places, names = max(len(place) for place, _ in rows), max(len(check.name) for _, check in rows)
    for place, check in rows:
        yield f"{place:{places}}  {check.name:{names}}  {'ok ' if check.ok else 'BAD'}  {check.found}"
