"""The command line `m2n2`: which commands there are, and how an error becomes one line and an exit code.

A command is a file in jobs/commands; jobs are validated in pipeline/config.py, work is done in pipeline and m2n2.

Exit codes: 0 every object accounted for and failures within the allowed share; 1 incomplete; 2 bad usage or input;
3 complete, but too many failed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from jobs.commands.check_backbone import check_backbone
from jobs.commands.clicks import clicks
from jobs.commands.demo import demo
from jobs.commands.evaluate import evaluate
from jobs.commands.export import export
from jobs.commands.init import init
from jobs.commands.label import label
from jobs.commands.looking.calibrate import calibrate
from jobs.commands.looking.explain import explain
from jobs.commands.looking.report import report
from jobs.commands.looking.review import review
from jobs.commands.looking.ui import ui
from jobs.commands.nightly import nightly
from jobs.commands.operator.abandon import abandon
from jobs.commands.operator.doctor import doctor
from jobs.commands.operator.library import library
from jobs.commands.operator.skip import skip
from jobs.commands.operator.unlock import unlock
from jobs.commands.plan import plan
from jobs.commands.status import status
from jobs.commands.submit import submit
from jobs.commands.weights import weights
from jobs.console import configure_logs, say
from jobs.exit_codes import INCOMPLETE, tell
from jobs.process import Ending, speak_utf8, write
from m2n2 import __version__

FIRST_RUN = """
A first run:

  m2n2 weights fetch dinov2-small

  m2n2 init --images photos/ --clicks clicks.parquet

  m2n2 label job.yaml
"""

INTERRUPTED = 130  # typer's own exit code of a Ctrl-C inside a command

app = typer.Typer(name="m2n2", epilog=FIRST_RUN, rich_markup_mode="markdown", pretty_exceptions_enable=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. Without `arguments` it is this process's own command."""
    if arguments is not None:
        return _run(arguments)
    speak_utf8()
    ending = Ending()
    ending.code = _run(None)
    return ending.code


def _run(arguments: Sequence[str] | None) -> int:
    try:
        code: int | None = app(arguments, prog_name="m2n2", standalone_mode=False)
    except typer.TyperException as error:
        write(sys.stderr, f"m2n2: {error.format_message()}")
        return error.exit_code
    except (typer.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    except Exception as error:
        told = tell(error)
        if told is None:
            raise
        code, text = told
        write(sys.stderr, f"m2n2: {text}")
    if code == INTERRUPTED:
        write(sys.stderr, "m2n2: interrupted")
        return INCOMPLETE
    return code or 0


def _say_version(wanted: bool) -> None:
    if wanted:
        say(f"m2n2 {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def m2n2(
    context: typer.Context,
    verbose: Annotated[bool, typer.Option("--verbose", help="log every shard, also on a terminal")] = False,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_say_version, help="say the version and end")
    ] = False,
) -> None:
    """Instance masks from clicks, without training."""
    if context.invoked_subcommand is None:
        say(context.get_help())
    configure_logs(verbose)


app.command()(init)
app.add_typer(clicks, name="clicks")
app.command()(plan)
app.command()(doctor)
app.command()(label)
app.command()(submit)
app.command()(nightly)
app.command()(status)
app.command()(skip)
app.command()(abandon)
app.command()(unlock)
app.add_typer(library, name="library")
app.command()(export)
app.command()(ui)
app.command()(review)
app.command()(report)
app.command()(calibrate)
app.command()(explain)
app.command()(evaluate)
app.add_typer(weights, name="weights")
app.command()(check_backbone)
app.command()(demo)


if __name__ == "__main__":
    sys.exit(main())
