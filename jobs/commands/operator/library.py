"""`m2n2 library`: what keeps a library that grows every night quick to read."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from jobs.commands.options import DryRun, EndpointUrl, Reason
from jobs.console import say

HELP = "Keep a library quick to read.\n\nExample: m2n2 library compact s3://bucket/library"

library = typer.Typer(help=HELP)


@library.command()
def compact(
    library: Annotated[str, typer.Argument(metavar="LIBRARY")],
    gc: Annotated[
        bool, typer.Option("--gc", help="remove what earlier compactions have folded, and fold nothing")
    ] = False,
    older_than: Annotated[
        float,
        typer.Option(
            min=1, metavar="HOURS", help="with --gc: only what was folded, or left by a killed night, so long ago"
        ),
    ] = 168.0,
    reason: Reason = "no reason given",
    dry_run: DryRun = False,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Fold the index files of all nights into one. The old ones stay until --gc removes what nothing refers to.

    Example: m2n2 library compact s3://bucket/library --gc --older-than 168 --dry-run
    """
    from pipeline.library.compact import collect
    from pipeline.library.compact import compact as fold
    from pipeline.storage.filesystem import Storage
    from pipeline.storage.store import Store

    store, done = Store(library, Storage(endpoint_url=endpoint_url)), "would be" if dry_run else "are"
    if gc:
        removed = collect(store, timedelta(hours=older_than), reason, dry_run)
        for entry in removed:
            say(f"{entry.key}  {entry.size} bytes")
        say(f"{len(removed)} files {done} removed")
        return
    folded = fold(store, reason, dry_run)
    say(f"{len(folded.index)} index files and {len(folded.registry)} files of identifiers {done} folded into one each")
