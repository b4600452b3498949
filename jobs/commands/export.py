"""`m2n2 export`: the masks of a run or of a library, written to another place."""

from __future__ import annotations

import sys
from functools import partial
from typing import Annotated, Literal

import typer

from jobs.commands.options import EndpointUrl
from jobs.console import say
from jobs.exit_codes import COMPLETE, INCOMPLETE


def export(
    output: Annotated[str, typer.Argument(metavar="OUTPUT|LIBRARY")],
    to: Annotated[str, typer.Option(metavar="PATH", help="a file here, or an address such as s3://...")],
    format: Annotated[Literal["coco"], typer.Option()] = "coco",
    endpoint_url: EndpointUrl = None,
) -> int:
    """Write the masks of a run or a library to another place.

    Example: m2n2 export s3://bucket/labels/run-7/ --to instances.json
    """
    from pipeline.attempts import all_attempts, is_complete, newest_rows
    from pipeline.config import InvalidJob
    from pipeline.export.coco import export_coco
    from pipeline.library.export import export_library
    from pipeline.library.ledger import is_library
    from pipeline.storage.filesystem import Storage
    from pipeline.storage.store import Store

    storage = Storage(endpoint_url=endpoint_url)
    store = Store(output, storage)
    if is_library(store):
        say(export_library(store, Store("", storage), to))
        return COMPLETE
    attempts = all_attempts(store)
    if not attempts:
        raise InvalidJob(f"{output}: neither a run (plan/plan.json) nor a library (ledger/) is here")
    image_rows = partial(newest_rows, store, attempts)
    say(export_coco(image_rows, attempts[0].fingerprint, Store("", storage), to))
    if all(is_complete(store, plan) for plan in attempts):
        return COMPLETE
    sys.stderr.write("m2n2: the run is not complete: what is not labelled yet is not in the export\n")
    return INCOMPLETE
