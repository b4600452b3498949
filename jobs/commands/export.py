"""`m2n2 export`: the masks of a run or of a library, written to another place."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from jobs.commands.options import EndpointUrl
from jobs.console import say
from jobs.exit_codes import COMPLETE, INCOMPLETE

if TYPE_CHECKING:
    from pipeline.export.labels import Labels
    from pipeline.storage.store import Store


def export(
    output: Annotated[str, typer.Argument(metavar="OUTPUT|LIBRARY")],
    to: Annotated[str, typer.Option(metavar="PATH", help="a file here, or an address such as s3://...")],
    format: Annotated[Literal["coco"], typer.Option()] = "coco",
    endpoint_url: EndpointUrl = None,
) -> int:
    """Write the masks of a run or a library to another place.

    Example: m2n2 export s3://bucket/labels/run-7/ --to instances.json
    """
    from pipeline.export.coco import export_coco
    from pipeline.storage.filesystem import Storage
    from pipeline.storage.store import Store

    storage = Storage(endpoint_url=endpoint_url)
    with _labels(Store(output, storage)) as labels:
        say(export_coco(labels, Store("", storage), to))
    if not labels.missing:
        return COMPLETE
    sys.stderr.write(
        f"m2n2: {len(labels.missing)} parts were not there, such as {labels.missing[0]}: what they hold, or will hold, "
        "is not in the export\n"
    )
    return INCOMPLETE


def _labels(store: Store) -> AbstractContextManager[Labels]:
    from pipeline.attempts import all_attempts
    from pipeline.config import InvalidJob
    from pipeline.export.labels import labels_of_run
    from pipeline.frozen_parts import freeze_parts
    from pipeline.library.export import labels_of_library
    from pipeline.library.ledger import is_library

    if is_library(store):
        return labels_of_library(store)
    attempts = all_attempts(store)
    if not attempts:
        raise InvalidJob(f"{store.root}: neither a run (plan/plan.json) nor a library (ledger/) is here")
    return nullcontext(labels_of_run(freeze_parts(store, attempts)))
