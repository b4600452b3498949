"""`m2n2 status`: how far a run is, from its output alone."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import Annotated

import typer

from jobs.commands.options import EndpointUrl
from jobs.console import say, status_text
from jobs.exit_codes import COMPLETE, INCOMPLETE

WATCH_EVERY_S = 5.0


def status(
    output: Annotated[str, typer.Argument(metavar="OUTPUT")],
    as_json: Annotated[bool, typer.Option("--json", help="as one JSON object a line")] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="say it again and again, until the run ends or Ctrl-C")
    ] = False,
    endpoint_url: EndpointUrl = None,
) -> int:
    """Say how far the run below OUTPUT is, and what failed. It ends with 1 as long as shards are left.

    Example: m2n2 status s3://bucket/labels/run-7/ --watch
    """
    from pipeline.config import InvalidJob
    from pipeline.driver.progress import read_status
    from pipeline.library.ledger import is_library
    from pipeline.storage.filesystem import Storage
    from pipeline.storage.store import Store

    store = Store(output, Storage(endpoint_url=endpoint_url))
    with suppress(KeyboardInterrupt), _screen(watch and not as_json) as show:
        while True:
            found = read_status(store)
            if found is None:
                nights = "; a library is here: its nights are the runs below runs/" if is_library(store) else ""
                raise InvalidJob(f"{output}: no run is here; expected plan/plan.json below it{nights}")
            show(json.dumps(asdict(found), default=str) if as_json else status_text(found))
            if not watch or not found.driver_alive:
                return COMPLETE if found.shards_done == found.shards_total else INCOMPLETE
            time.sleep(WATCH_EVERY_S)
    return INCOMPLETE


@contextmanager
def _screen(live: bool) -> Iterator[Callable[[str], None]]:
    """What shows a text: in place of the last one on a terminal, below it elsewhere."""
    if not (live and sys.stdout.isatty()):
        yield say
        return
    from rich.live import Live
    from rich.text import Text

    with Live(auto_refresh=False) as screen:
        yield lambda text: screen.update(Text(text), refresh=True)
