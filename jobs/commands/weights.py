"""`m2n2 weights`: models' weights, from where they are published to where workers find them."""

from __future__ import annotations

from typing import Annotated

import typer

from jobs.commands.options import EndpointUrl
from jobs.console import say
from jobs.exit_codes import COMPLETE


def fetch(
    name: Annotated[str, typer.Argument(metavar="NAME", help="such as dinov2-small or sd2")],
    to: Annotated[
        str | None, typer.Option(metavar="PATH", help="directory or s3://...; default: below $M2N2_CACHE")
    ] = None,
    source: Annotated[str | None, typer.Option("--from", metavar="DIR", help="a local directory that has them")] = None,
    endpoint_url: EndpointUrl = None,
) -> int:
    """Fetch weights, check them, and put them in place."""
    from pipeline.storage.filesystem import Storage
    from pipeline.weights.fetch import fetch_weights

    say(str(fetch_weights(name, to, source, Storage(endpoint_url=endpoint_url))))
    return COMPLETE
