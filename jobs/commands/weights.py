"""`m2n2 weights`: models' weights, from where they are published to where workers find them."""

from __future__ import annotations

from typing import Annotated

import typer

from jobs.commands.options import EndpointUrl
from jobs.console import say
from jobs.exit_codes import COMPLETE

weights = typer.Typer(help="Get models' weights, and copy them to a node.\n\nExample: m2n2 weights fetch dinov2-small")


@weights.command()
def fetch(
    name: Annotated[str, typer.Argument(metavar="NAME", help="such as dinov2-small or sd2")],
    to: Annotated[
        str | None, typer.Option(metavar="PATH", help="directory or s3://...; default: below $M2N2_CACHE")
    ] = None,
    source: Annotated[str | None, typer.Option("--from", metavar="DIR", help="a local directory that has them")] = None,
    endpoint_url: EndpointUrl = None,
) -> int:
    """Fetch weights, check them, and put them in place.

    Example: m2n2 weights fetch sd2 --to s3://bucket/weights/sd2
    """
    from pipeline.storage.filesystem import Storage
    from pipeline.weights.fetch import fetch_weights

    say(str(fetch_weights(name, to, source, Storage(endpoint_url=endpoint_url))))
    return COMPLETE


@weights.command()
def cache(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="such as s3://bucket/weights/sd2")],
    endpoint_url: EndpointUrl = None,
) -> int:
    """Copy weights from object storage to this machine, check them, and say in which directory they are.

    Example: m2n2 weights cache s3://bucket/weights/sd2
    """
    from m2n2.backbones.weights import is_address
    from m2n2.errors import InvalidWeights
    from pipeline.storage.filesystem import Storage
    from pipeline.weights.node_cache import weights_on_this_node

    if not is_address(address):
        raise InvalidWeights(f"weights cache: found {address!r}; allowed: an address such as s3://bucket/weights/sd2")
    say(weights_on_this_node(address, Storage(endpoint_url=endpoint_url)))
    return COMPLETE
