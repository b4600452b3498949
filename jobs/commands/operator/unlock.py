"""`m2n2 unlock`: end the lease of a driver that is known to be dead."""

from __future__ import annotations

from typing import Annotated

import typer

from jobs.commands.options import DryRun, EndpointUrl, Reason
from jobs.console import say


def unlock(
    library: Annotated[str, typer.Argument(metavar="LIBRARY")],
    reason: Reason = "no reason given",
    dry_run: DryRun = False,
    endpoint_url: EndpointUrl = None,
) -> None:
    """End a library's lease at once, for a holder that is known to be dead; one that lives commits nothing any more.

    Example: m2n2 unlock s3://bucket/library --reason "the head node is gone"
    """
    from pipeline.library.intervene import unlock as unlock_library
    from pipeline.storage.filesystem import Storage
    from pipeline.storage.store import Store

    holder = unlock_library(Store(library, Storage(endpoint_url=endpoint_url)), reason, dry_run)
    ended = "would be ended" if dry_run else "is ended"
    say(f"the lease {holder.token} of {holder.host} pid {holder.pid}, held since {holder.since}, {ended}")
