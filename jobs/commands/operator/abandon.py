"""`m2n2 abandon`: give up a library's open night."""

from __future__ import annotations

from typing import Annotated

import typer

from jobs.commands.options import DryRun, EndpointUrl, Reason
from jobs.console import say


def abandon(
    library: Annotated[str, typer.Argument(metavar="LIBRARY")],
    reason: Reason = "no reason given",
    dry_run: DryRun = False,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Give up the night that was begun and not finished: the next one begins anew.

    Example: m2n2 abandon s3://bucket/library --reason "wrong weights"
    """
    from pipeline.library.intervene import abandon_open_night
    from pipeline.storage.filesystem import Storage
    from pipeline.storage.store import Store

    night = abandon_open_night(Store(library, Storage(endpoint_url=endpoint_url)), reason, dry_run)
    say(f"night {night.date} ({night.run}) {'would be' if dry_run else 'is'} given up; the next night begins anew")
