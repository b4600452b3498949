"""`m2n2 report`: one page about a run or a library, for people."""

from __future__ import annotations

from typing import Annotated

import typer

from jobs.commands.missing import tell_missing
from jobs.commands.options import EndpointUrl
from jobs.console import say


def report(
    output: Annotated[str, typer.Argument(metavar="OUTPUT|LIBRARY")],
    to: Annotated[
        str | None, typer.Option(metavar="DIR", help="where index.html goes; default: report/ below OUTPUT")
    ] = None,
    images: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="where the images are, if not where the run says")
    ] = None,
    truth: Annotated[
        str | None, typer.Option(metavar="FILE", help="COCO instances: how scores stand to the truth of some images")
    ] = None,
    endpoint_url: EndpointUrl = None,
) -> int:
    """Make a page of figures and pictures that a browser opens, without a server.

    Example: m2n2 report s3://bucket/labels/run-7/ --to report/
    """
    from pipeline.review.report.report import REPORT_KEY, write_report
    from pipeline.review.source import open_source
    from pipeline.storage.filesystem import Storage
    from pipeline.storage.store import Store

    store = Store(output, Storage(endpoint_url=endpoint_url))
    target, key = (store, REPORT_KEY) if to is None else (Store(to, store.storage), "index.html")
    with open_source(store) as source:
        say(write_report(source, target, key, images, truth))
        return tell_missing(source.labels.missing, "the report")
