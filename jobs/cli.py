"""The command line `m2n2`. It only wires: jobs are validated in pipeline/config.py, work is done in pipeline and m2n2.

Exit codes: 0 every object accounted for and failures within the allowed share; 1 incomplete; 2 bad usage or input;
3 complete, but too many failed.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.console import configure_logs, progress_line, say, status_text
from jobs.notice import send_notice
from m2n2.errors import InvalidAttention, InvalidWeights
from pipeline.clicks import InvalidClicks
from pipeline.config import InvalidJob, Job, load_job
from pipeline.plan import PlanMismatch, find_or_make_plan
from pipeline.storage.filesystem import Storage
from pipeline.storage.retry import StoreUnavailable
from pipeline.storage.store import Store

if TYPE_CHECKING:
    from pipeline.driver.run import Retry

BAD_INPUT = (InvalidJob, InvalidClicks, InvalidWeights, InvalidAttention, PlanMismatch)
EXIT_INCOMPLETE, EXIT_BAD_INPUT = 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    options = build_parser().parse_args(arguments)
    configure_logs(options.verbose)
    try:
        code: int = options.run(options)
    except BAD_INPUT as error:
        sys.stderr.write(f"m2n2: {error}\n")
        return EXIT_BAD_INPUT
    except StoreUnavailable as error:
        sys.stderr.write(f"m2n2: {error}\n")
        return EXIT_INCOMPLETE
    return code


def build_parser() -> argparse.ArgumentParser:
    """Every command with its options."""
    parser = argparse.ArgumentParser(prog="m2n2", description="Instance masks from clicks, without training.")
    parser.add_argument("--verbose", action="store_true", help="log every shard, also on a terminal")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    label = commands.add_parser("label", help="label a job's images: plan, run or resume, export")
    label.add_argument("job", metavar="JOB.yaml")
    label.add_argument("overrides", nargs="*", metavar="key=value", help="such as backbone.grid=64")
    label.add_argument("--address", help="a running Ray cluster; default: RAY_ADDRESS, else Ray on this machine")
    label.add_argument("--retry-failed", action="store_true", help="try failed objects again that may succeed now")
    label.add_argument("--retry-all", action="store_true", help="try all failed objects again")
    label.set_defaults(run=_label)

    submit = commands.add_parser("submit", help="label or do a night on a cluster, follow it, resume it")
    submit.add_argument("job", metavar="JOB.yaml", help="a job, or a nightly configuration")
    submit.add_argument("overrides", nargs="*", metavar="key=value", help="such as workers.count=16")
    submit.add_argument("--address", required=True, metavar="URL", help="the dashboard, such as http://127.0.0.1:8265")
    submit.set_defaults(run=_submit)

    nightly = commands.add_parser("nightly", help="label what is new or changed since the last night")
    nightly.add_argument("config", metavar="NIGHTLY.yaml")
    nightly.add_argument("--date", metavar="YYYY-MM-DD", help="the day tonight stands for; default: today in UTC")
    nightly.add_argument("--address", help="a running Ray cluster; default: RAY_ADDRESS, else Ray on this machine")
    nightly.set_defaults(run=_nightly)

    status = commands.add_parser("status", help="how far the run below OUTPUT is, and what failed")
    status.add_argument("output", metavar="OUTPUT")
    _add_storage(status)
    status.set_defaults(run=_status)

    export = commands.add_parser("export", help="write the masks of a run or a library to another place")
    export.add_argument("output", metavar="OUTPUT|LIBRARY")
    export.add_argument("--format", choices=["coco"], default="coco")
    export.add_argument("--to", required=True, metavar="PATH")
    _add_storage(export)
    export.set_defaults(run=_export)

    weights = commands.add_parser("weights", help="get models' weights").add_subparsers(required=True)
    fetch = weights.add_parser("fetch", help="fetch weights, check them, and put them in place")
    fetch.add_argument("name", metavar="NAME", help="such as dinov2-small or sd2")
    fetch.add_argument("--to", metavar="PATH", help="directory or s3://...; default: below $M2N2_CACHE")
    fetch.add_argument("--from", dest="source", metavar="DIR", help="a local directory that has them")
    _add_storage(fetch)
    fetch.set_defaults(run=_fetch_weights)

    check = commands.add_parser("check-backbone", help="load a model on this machine, time it, compare it with float32")
    check.add_argument("name", metavar="NAME", help="such as sd2 or dinov2")
    check.add_argument("--weights", help="directory, name, hub id or s3://...; default: the name's own in the cache")
    check.add_argument("--dtype", choices=["float32", "float16", "bfloat16"], default="float32")
    check.add_argument("--device", default="cpu", help="such as cuda")
    check.add_argument("--grid", type=int, help="cells of the attention's side; default: the backbone's own")
    _add_storage(check)
    check.set_defaults(run=_check_backbone)

    demo = commands.add_parser("demo", help="label a few photos on this machine and draw the masks")
    demo.add_argument("--to", default="demo", metavar="DIR")
    demo.set_defaults(run=_demo)
    return parser


def _add_storage(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--endpoint-url", help="an S3-compatible server")


def _storage(options: argparse.Namespace) -> Storage:
    return Storage(endpoint_url=options.endpoint_url)


def _label(options: argparse.Namespace) -> int:
    job = load_job(options.job, options.overrides)
    retry: Retry | None = "all" if options.retry_all else "retryable" if options.retry_failed else None
    return label(job, options.address, retry)


def label(job: Job, address: str | None = None, retry: Retry | None = None) -> int:
    """Run a job on a cluster or on this machine and say how it ended; returns the exit code."""
    from jobs.cluster import connected
    from pipeline.driver.run import run

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    plan = find_or_make_plan(job)  # before Ray starts: bad input is said at once
    with connected(job, address), progress_line() as show:
        result = run(job, retry=retry, stop=stop, on_progress=show, plan=plan)
    reasons = ", ".join(f"{reason} {number}" for reason, number in result.failed.items())
    failed = f"{sum(result.failed.values())} failed{reasons and f' ({reasons})'}"
    text = f"{result.outcome}: {result.objects} objects, {failed}"
    say(text)
    outcome = {"outcome": result.outcome, "exit_code": result.exit_code, "run": job.output}
    send_notice({"text": f"m2n2 label {job.output} {text}"} | outcome)
    for line in filter(None, [result.message, *result.exports]):
        say(line)
    return result.exit_code


def _submit(options: argparse.Namespace) -> int:
    from jobs.submit import submit

    return submit(options.job, options.overrides, options.address)


def _nightly(options: argparse.Namespace) -> int:
    from jobs.nightly import nightly

    return nightly(options.config, options.date, options.address)


def _status(options: argparse.Namespace) -> int:
    from pipeline.driver.progress import read_status

    status = read_status(Store(options.output, _storage(options)))
    if status is None:
        raise InvalidJob(f"{options.output}: no run is here; expected plan/plan.json below it")
    say(status_text(status))
    return 0 if status.shards_done == status.shards_total else EXIT_INCOMPLETE


def _export(options: argparse.Namespace) -> int:
    from functools import partial

    from pipeline.attempts import all_attempts, is_complete, newest_rows
    from pipeline.export.coco import export_coco
    from pipeline.library.export import export_library
    from pipeline.library.ledger import is_library

    store = Store(options.output, _storage(options))
    if is_library(store):
        say(export_library(store, Store("", _storage(options)), options.to))
        return 0
    attempts = all_attempts(store)
    if not attempts:
        raise InvalidJob(f"{options.output}: neither a run (plan/plan.json) nor a library (ledger/) is here")
    image_rows = partial(newest_rows, store, attempts)
    say(export_coco(image_rows, attempts[0].fingerprint, Store("", _storage(options)), options.to))
    if all(is_complete(store, plan) for plan in attempts):
        return 0
    sys.stderr.write("m2n2: the run is not complete: what is not labelled yet is not in the export\n")
    return EXIT_INCOMPLETE


def _fetch_weights(options: argparse.Namespace) -> int:
    from pipeline.weights.fetch import fetch_weights

    place = fetch_weights(options.name, options.to, options.source, _storage(options))
    say(str(place))
    return 0


def _check_backbone(options: argparse.Namespace) -> int:
    from m2n2.backbones.check import report_backbone
    from pipeline.weights.node_cache import weights_on_this_node

    weights = options.weights and weights_on_this_node(options.weights, _storage(options))
    known = {"device": options.device, "dtype": options.dtype, "grid": options.grid}
    say(str(report_backbone(options.name, weights, **known)))
    return 0


def _demo(options: argparse.Namespace) -> int:
    from jobs.demo import demo

    return demo(Path(options.to))


if __name__ == "__main__":
    sys.exit(main())
