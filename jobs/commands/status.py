"""`m2n2 status`: how far a run is, from its output alone."""

from __future__ import annotations

from typing import Annotated

import typer

from jobs.commands.options import EndpointUrl
from jobs.console import say, status_text
from jobs.exit_codes import COMPLETE, INCOMPLETE


def status(output: Annotated[str, typer.Argument(metavar="OUTPUT")], endpoint_url: EndpointUrl = None) -> int:
    """Say how far the run below OUTPUT is, and what failed.

    Example: m2n2 status s3://bucket/labels/run-7/
    """
    from pipeline.config import InvalidJob
    from pipeline.driver.progress import read_status
    from pipeline.storage.filesystem import Storage
    from pipeline.storage.store import Store

    found = read_status(Store(output, Storage(endpoint_url=endpoint_url)))
    if found is None:
        raise InvalidJob(f"{output}: no run is here; expected plan/plan.json below it")
    say(status_text(found))
    return COMPLETE if found.shards_done == found.shards_total else INCOMPLETE
