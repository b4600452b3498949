"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

EndpointUrl = Annotated[str | None, typer.Option(metavar="URL", help="an S3-compatible server")]
RayAddress = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="a running Ray cluster; default: RAY_ADDRESS, else Ray on this machine"),
]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="key=value", help="such as backbone.grid=64")]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="why; stands in the record that is left")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="say what would be done, and do nothing")]
