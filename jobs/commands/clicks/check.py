"""`m2n2 clicks check`: what a run would find wrong with clicks, before it is started."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
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
    categories: Annotated[
        str | None, typer.Option(metavar="FILE", help="a job's categories.json: which categories clicks may have")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="everything as one JSON object")] = False,
    endpoint_url: EndpointUrl = None,
) -> int:
    """Say what a run would find wrong with clicks: it ends with 3 where an object would fail or be refused.

    Example: m2n2 clicks check clicks.parquet --images photos/
    """
    from pipeline.containers.source import image_source
    from pipeline.forecast.check import check_clicks
    from pipeline.inputs.categories import category_list
    from pipeline.storage.filesystem import Storage
    from pipeline.storage.store import Store

    storage = Storage(endpoint_url=endpoint_url)
    everywhere = Store("", storage)
    allowed = [each.name for each in category_list(categories, everywhere)] if categories else []
    found = check_clicks(clicks, everywhere, image_source(images, storage) if images else None, allowed)
    say(json.dumps(vars(found)) if as_json else "\n".join(_lines(found, allowed)))
    return COMPLETE if found.is_sound else NEEDS_A_PERSON


def _lines(found: Checked, allowed: Sequence[str]) -> Iterator[str]:
    from pipeline.forecast.check import NEAR_PIXELS

    looked = f"{found.images_looked_at:,} of them looked at" if found.images_looked_at else "none of them looked at"
    yield f"images    {found.images:,}, {looked}"
    yield f"objects   {found.objects:,}, {found.with_box:,} of them with a box"
    yield f"clicks    {_counts(found.clicks_an_object, 'with ')}"
    shown = found.categories.most_common(CATEGORIES_SHOWN)
    more = f", and {len(found.categories) - len(shown)} more" if len(found.categories) > len(shown) else ""
    yield f"category  {', '.join(f'{name} {number:,}' for name, number in shown)}{more}"
    if found.unknown:
        unknown = ", ".join(f"{name!r} {number:,}" for name, number in list(found.unknown.items())[:CATEGORIES_SHOWN])
        names = ", ".join(map(repr, allowed[:CATEGORIES_SHOWN]))
        more = f", and {len(allowed) - CATEGORIES_SHOWN} more" if len(allowed) > CATEGORIES_SHOWN else ""
        yield f"bad       {sum(found.unknown.values()):,} objects of unknown categories: {unknown}"
        yield f"          allowed: {names}{more}; `unknown_categories: add` in the job adds what is unknown"
    for reason, number in found.failed.most_common():
        yield f"bad       {number:,} objects: {reason}"
        yield from (f"          {example}" for example in found.examples[reason])
    if found.near:
        yield f"near      {found.near:,} pairs of objects have clicks within {NEAR_PIXELS:g} pixels of one another"
        yield from (f"          {example}" for example in found.examples["near"])


def _counts(counts: Counter[int], word: str) -> str:
    return ", ".join(f"{number:,} objects {word}{clicks}" for clicks, number in sorted(counts.items()))
