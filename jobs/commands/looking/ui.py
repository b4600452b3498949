"""`m2n2 ui`: a local page to click on images, see the masks, and look at those of a run."""

from __future__ import annotations

import signal
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from jobs.commands.options import EndpointUrl
from jobs.console import say
from jobs.exit_codes import COMPLETE


def ui(
    images: Annotated[str, typer.Argument(metavar="IMAGES", help="a folder here, or an address such as s3://...")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="key=value", help="such as backbone.grid=48, settings.objects=exclusive"),
    ] = None,
    clicks: Annotated[
        Path, typer.Option(metavar="FILE", help="a Parquet file on this machine; made if it is not there")
    ] = Path("clicks.parquet"),
    output: Annotated[
        str | None, typer.Option(metavar="RUN|LIBRARY", help="whose masks to review, here or s3://...")
    ] = None,
    backbone: Annotated[str, typer.Option(metavar="NAME", help="such as sd2 or dinov2")] = "dinov2",
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="where to listen; any other than this machine's own needs a token")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free")] = 8765,
    endpoint_url: EndpointUrl = None,
) -> int:
    """Open a page to click on images, see the masks at once, and review those of a run.

    Example: m2n2 ui photos/ --clicks clicks.parquet --output labels/
    """
    from jobs.ui.serve import bind, check_installed, serve
    from pipeline.config import InvalidJob, job_of_keys
    from pipeline.containers.pattern import suffix_of
    from pipeline.page.page import Page
    from pipeline.storage.store import Store

    check_installed()
    root = images if "://" in images else str(Path(images).expanduser().resolve())
    document: dict[str, Any] = {"images": root, "clicks": str(clicks), "output": output or "none"}
    document["workers"] = {"gpus": 0, "cpus": 2}
    # A run waits for storage for minutes; whoever looks at a page wants to hear of it, and can try again.
    document["storage"] = {"endpoint_url": endpoint_url, "give_up_s": 10.0, "request_timeout_s": 8.0}
    job = job_of_keys(document, [f"backbone.name={backbone}", *(overrides or [])], "ui")
    if "://" in str(clicks) or clicks.is_dir():
        raise InvalidJob(f"--clicks: found {str(clicks)!r}; allowed: a Parquet file on this machine")
    if suffix_of(root):
        raise InvalidJob(f"{images}: the page shows no tars and no Parquet yet; allowed: a folder of images")
    if "://" not in root and not Path(root).is_dir():
        raise InvalidJob(f"{images}: there is no such folder")
    listening = bind(host, port)
    about = {"images": images, "clicks": str(clicks), "output": output}
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that files are written at this end, too
    with (
        Page(job, clicks.expanduser().resolve(), Store(output, job.storage) if output else None) as page,
        suppress(KeyboardInterrupt),  # how a page is ended
    ):
        serve(page, about, listening, say)
    return COMPLETE
