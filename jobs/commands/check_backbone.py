"""`m2n2 check-backbone`: does this machine run a model, how fast, and how far from float32."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from jobs.commands.options import EndpointUrl
from jobs.console import say
from jobs.exit_codes import COMPLETE


def check_backbone(
    name: Annotated[str, typer.Argument(metavar="NAME", help="such as sd2 or dinov2")],
    weights: Annotated[
        str | None, typer.Option(help="directory, name, hub id or s3://...; default: the name's own in the cache")
    ] = None,
    dtype: Annotated[Literal["float32", "float16", "bfloat16"], typer.Option()] = "float32",
    device: Annotated[str, typer.Option(help="such as cuda")] = "cpu",
    grid: Annotated[int | None, typer.Option(help="cells of the attention's side; default: the backbone's own")] = None,
    endpoint_url: EndpointUrl = None,
) -> int:
    """Load a model on this machine, time it, compare it with float32.

    Example: m2n2 check-backbone sd2 --dtype float16 --device cuda --grid 128
    """
    from m2n2.backbones.check import report_backbone
    from pipeline.storage.filesystem import Storage
    from pipeline.weights.node_cache import weights_on_this_node

    here = weights and weights_on_this_node(weights, Storage(endpoint_url=endpoint_url))
    say(str(report_backbone(name, here, device=device, dtype=dtype, grid=grid)))
    return COMPLETE
