"""`m2n2 clicks check`: what a run would find wrong with clicks, before it is started."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.commands.options import EndpointUrl
from jobs.console import say
from jobs.exit_codes import COMPLETE, NEEDS_A_PERSON

if TYPE_CHECKING:
    from collections import Counter

    from pipeline.forecast.check import Checked

CATEGORIES_SHOWN = 20


def check(
    clicks: Annotated[list[str], typer.Argument(metavar="CLICKS", help="files, folders or patterns")],
    images: Annotated[
        str | None, typer.Option(metavar="ROOT", help="look at the beginning of every image, too")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="everything as one JSON object")] = False,
    endpoint_url: EndpointUrl = None,
) -> int:
    """Say what a run would find wrong with clicks: it ends with 3 where an object would fail.

    Example: m2n2 clicks check clicks.parquet --images photos/
    """
    from pipeline.containers.source import image_source
    from pipeline.forecast.check import check_clicks
    from pipeline.storage.filesystem import Storage
    from pipeline.storage.store import Store

    storage = Storage(endpoint_url=endpoint_url)
    found = check_clicks(clicks, Store("", storage), image_source(images, storage) if images else None)
    say(json.dumps(vars(found)) if as_json else "\n".join(_lines(found)))
    return NEEDS_A_PERSON if found.failed else COMPLETE


def _lines(found: Checked) -> Iterator[str]:
    from pipeline.forecast.check import NEAR_PIXELS

    looked = f"{found.images_looked_at:,} of them looked at" if found.images_looked_at else "none of them looked at"
    yield f"images    {found.images:,}, {looked}"
    yield f"objects   {found.objects:,}, {found.with_box:,} of them with a box"
    yield f"clicks    {_counts(found.clicks_an_object, 'with ')}"
    shown = found.categories.most_common(CATEGORIES_SHOWN)
    more = f", and {len(found.categories) - len(shown)} more" if len(found.categories) > len(shown) else ""
    yield f"category  {', '.join(f'{name} {number:,}' for name, number in shown)}{more}"
    for reason, number in found.failed.most_common():
        yield f"bad       {number:,} objects: {reason}"
        yield from (f"          {example}" for example in found.examples[reason])
    if found.near:
        yield f"near      {found.near:,} pairs of objects have clicks within {NEAR_PIXELS:g} pixels of one another"
        yield from (f"          {example}" for example in found.examples["near"])


def _counts(counts: Counter[int], word: str) -> str:
    return ", ".join(f"{number:,} objects {word}{clicks}" for clicks, number in sorted(counts.items()))
