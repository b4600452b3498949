"""`m2n2 review`: which masks of a run or a library to look at first, and why."""

from __future__ import annotations

from typing import Annotated

import typer

from jobs.commands.missing import tell_missing
from jobs.commands.options import EndpointUrl
from jobs.console import log, say


def review(
    output: Annotated[str, typer.Argument(metavar="OUTPUT|LIBRARY")],
    to: Annotated[str, typer.Option(metavar="DIR", help="where review.parquet and review.csv go, here or s3://...")],
    budget: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="pick N objects, of every category and reason"),
    ] = None,
    endpoint_url: EndpointUrl = None,
) -> int:
    """List every object in the order in which a person's minute helps most, with the reasons.

    Example: m2n2 review s3://bucket/labels/run-7/ --to review/ --budget 200
    """
    from pipeline.review.picked import write_picked
    from pipeline.review.queue import ReviewQueue
    from pipeline.review.source import open_source
    from pipeline.review.write_queue import write_queue
    from pipeline.storage.filesystem import Storage
    from pipeline.storage.store import Store

    storage = Storage(endpoint_url=endpoint_url)
    with open_source(Store(output, storage)) as source, ReviewQueue(source) as queue:
        if budget is not None:
            found = queue.pick(budget)
            if found.picked < found.groups:
                log.warning(
                    "--budget %d: %d of the %d categories and reasons are among the picks, for more it is too small",
                    *(budget, found.picked, found.groups),
                )
        for reason, number in queue.counts().items():
            say(f"{reason:15} {number}")
        target = Store(to, storage)
        addresses = write_queue(queue, target)
        if budget is not None:
            addresses += write_picked(source, queue, target)
        for address in addresses:
            say(address)
    return tell_missing(source.labels.missing, "the queue")
