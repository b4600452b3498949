"""`m2n2 clicks import`: another tool's file of points, boxes or masks as Parquet of clicks."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

import typer

from jobs.commands.options import EndpointUrl
from jobs.console import say
from jobs.exit_codes import COMPLETE, NEEDS_A_PERSON
from jobs.process import write

FORMATS = "csv, tsv, jsonl, boxes, coco-keypoints, coco-boxes, coco-masks, labelstudio, cvat, via, yolo"
REJECTED_SHARE = 0.05  # above it a person should look


def import_clicks(
    source: Annotated[str, typer.Argument(metavar="SOURCE")],
    form: Annotated[str, typer.Option("--from", metavar="FORMAT", help=f"{FORMATS}; see docs/clicks.md")],
    to: Annotated[str, typer.Option(metavar="PATH", help="the Parquet file of clicks, here or s3://...")],
    columns: Annotated[
        list[str] | None, typer.Option("--map", metavar="OURS=THEIRS", help="such as x=px_x; may be repeated")
    ] = None,
    units: Annotated[
        Literal["pixels", "fraction"] | None,
        typer.Option(help="of a table's coordinates"),
    ] = None,
    box_clicks: Annotated[
        Literal["centre", "outside", "grid"], typer.Option(help="what becomes of a box without clicks")
    ] = "grid",
    images: Annotated[
        str | None, typer.Option(metavar="ROOT", help="the images, for formats that do not say how large they are")
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="put bad records in rejected.jsonl beside PATH and go on")
    ] = False,
    endpoint_url: EndpointUrl = None,
) -> int:
    """Make clicks of another tool's file.

    Example: m2n2 clicks import instances.json --from coco-boxes --to clicks.parquet
    """
    from pipeline.containers.pattern import suffix_of
    from pipeline.importing.import_clicks import FORMATS as KNOWN
    from pipeline.importing.import_clicks import import_clicks as import_all
    from pipeline.importing.objects import Source
    from pipeline.storage.filesystem import Storage
    from pipeline.storage.store import Store

    names = {str(name): name for name in KNOWN}
    if form not in names:
        raise typer.BadParameter(f"found {form!r}; allowed: {', '.join(names)}", param_hint="--from")
    if images and suffix_of(images):
        raise typer.BadParameter(f"found {images!r}; allowed: a folder of images", param_hint="--images")
    everywhere = Store("", Storage(endpoint_url=endpoint_url))
    read_from = Source(
        address=source,
        store=everywhere,
        columns=_mapped(columns or []),
        units=units,
        images=Store(images, everywhere.storage) if images else None,
    )
    done = import_all(read_from, names[form], everywhere, to, box_clicks, skip_bad)
    objects = "" if done.objects is None else f" of {done.objects:,} objects"
    say(f"{to}: {done.clicks:,} clicks{objects}")
    for what, number in done.lost.items():
        if number:
            write(sys.stderr, f"m2n2: {number:,}: {what}")
    if done.rejected:
        write(sys.stderr, f"m2n2: {done.rejected:,} bad records are in rejected.jsonl beside it")
    return (
        NEEDS_A_PERSON if done.rejected > REJECTED_SHARE * (done.rejected + (done.objects or done.clicks)) else COMPLETE
    )


def _mapped(columns: list[str]) -> dict[str, str]:
    found = {}
    for word in columns:
        ours, separator, theirs = word.partition("=")
        if not (ours and separator and theirs):
            raise typer.BadParameter(f"found {word!r}; allowed: OURS=THEIRS, such as x=px_x", param_hint="--map")
        found[ours] = theirs
    return found
