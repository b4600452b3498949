"""`m2n2 clicks`: bring clicks from other tools, and see what is wrong with them before a run."""

from __future__ import annotations

import typer

from jobs.commands.clicks.check import check
from jobs.commands.clicks.import_clicks import import_clicks

HELP = "Bring clicks from other tools, and check them.\n\nExample: m2n2 clicks check clicks.parquet"

clicks = typer.Typer(help=HELP)
clicks.command("import")(import_clicks)
clicks.command()(check)
