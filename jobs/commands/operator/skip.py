"""`m2n2 skip`: leave images of a run out, whatever they would do to its workers."""

from __future__ import annotations

from typing import Annotated

import typer

from jobs.commands.options import DryRun, EndpointUrl, Reason
from jobs.console import say


def skip(
    output: Annotated[str, typer.Argument(metavar="OUTPUT")],
    image: Annotated[list[str], typer.Option(metavar="KEY", help="an image as exports name it; may be repeated")],
    reason: Reason = "no reason given",
    dry_run: DryRun = False,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Leave images out of a run that is under way: their objects become error rows with the reason `skipped`.

    Example: m2n2 skip s3://bucket/labels --image site-7/0042.jpg --reason "decodes for an hour"
    """
    from pipeline.interventions import skip_image
    from pipeline.storage.filesystem import Storage
    from pipeline.storage.store import Store

    store = Store(output, Storage(endpoint_url=endpoint_url))
    for key in image:
        objects = skip_image(store, key, reason, dry_run)
        say(f"{key}: {objects} objects {'would be' if dry_run else 'are'} left out")
