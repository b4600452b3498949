"""`m2n2 evaluate`: how many clicks, how good after each, on images with ground truth; settings and peers compared."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from jobs.commands.options import EndpointUrl, Overrides, RayAddress
from jobs.console import log, say
from jobs.exit_codes import COMPLETE

if TYPE_CHECKING:
    from m2n2.evaluation import Session
    from pipeline.config import Job
    from pipeline.evaluation.evaluate import Request
    from pipeline.evaluation.truths import TruthData
    from pipeline.storage.store import Store

    Sessions = Mapping[tuple[str, str], Session]


GRID_VALUE = re.compile(r"(?:[^,\[\]{}]|\[[^\]]*\]|\{[^}]*\})+")  # commas in brackets are the value's own


def evaluate(
    data: Annotated[str, typer.Argument(metavar="DATA", help="a folder or s3://... of images and masks")],
    overrides: Overrides = None,
    to: Annotated[str, typer.Option(metavar="DIR", help="where the results go; there already: resumed")] = "evaluation",
    backbone: Annotated[str, typer.Option(metavar="NAME", help="such as sd2 or dinov2")] = "sd2",
    settings: Annotated[list[str] | None, typer.Option(metavar="k=v", help="a constant of the algorithm")] = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(metavar="key=a,b,...", help="try every value, such as settings.temperature=0.5,0.65"),
    ] = None,
    clicks: Annotated[int, typer.Option(min=1, help="an object at most")] = 20,
    limit: Annotated[int | None, typer.Option(min=1, help="images at most, the first ones")] = None,
    together: Annotated[bool, typer.Option("--together", help="click on all objects of an image together")] = False,
    protocol: Annotated[Literal["published", "components"], typer.Option()] = "published",
    noise: Annotated[float, typer.Option(min=0.0, help="clicks off the ideal pixel, as a share of its depth")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="of the noise")] = 0,
    method: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="m2n2 (default), grabcut, random_walker or sam2; several: in one table"),
    ] = None,
    sam2_weights: Annotated[str | None, typer.Option(metavar="DIR", help="SAM 2's, for --method sam2")] = None,
    known_set: Annotated[
        Literal["grabcut", "berkeley", "davis", "sbd", "coco_mval"] | None,
        typer.Option("--set", help="refuse the data unless it has as many objects as this set"),
    ] = None,
    against: Annotated[str | None, typer.Option(metavar="DIR", help="compare with an evaluation")] = None,
    write_checksums: Annotated[
        bool, typer.Option("--write-checksums", help="write DATA/SHA256SUMS of every file that is read, and end")
    ] = False,
    address: RayAddress = None,
    endpoint_url: EndpointUrl = None,
) -> int:
    """Click on objects with ground truth as the literature does and report NoC, IoU after each click and drops.

    Example: m2n2 evaluate data/grabcut --backbone dinov2 --to evaluations/grabcut workers.gpus=0
    """
    from m2n2.evaluation import ClickRule
    from pipeline.evaluation.checksums import write_sums
    from pipeline.evaluation.evaluate import Request
    from pipeline.evaluation.truths import find_truths
    from pipeline.storage.filesystem import Storage
    from pipeline.storage.store import Store

    storage = Storage(endpoint_url=endpoint_url)
    truths = find_truths(Store(data, storage), known_set, limit)
    if write_checksums:
        say(f"{write_sums(truths.store, truths.keys)}: {len(truths.keys)} files")
        return COMPLETE
    rule = ClickRule(protocol, noise, seed)
    keys = [f"backbone.name={backbone}", *(f"settings.{each}" for each in settings or []), *(overrides or [])]
    runs = {}
    for name, each, chosen in _cells(method or ["m2n2"], grid or [], sam2_weights):
        job = _job(data, f"{to.rstrip('/')}/{name}" if name else to, endpoint_url, [*keys, *chosen])
        runs[name] = Run(job, Request(rule, clicks, together, each, sam2_weights if each == "sam2" else None))
    found = _run_all(runs, truths, address)
    _report(Store(to, storage), runs, truths, found)
    if against is not None:
        _compare(Store(against, storage), runs, found)
    return COMPLETE


class Run(NamedTuple):
    """A line of the table: what makes the masks, and how the data are clicked on."""

    job: Job
    request: Request


def _cells(
    methods: Sequence[str], grid: Sequence[str], sam2_weights: str | None
) -> Iterator[tuple[str, str, list[str]]]:
    """(name, method, overrides) of every line of the table; one alone has no name. The grid is m2n2's."""
    from pipeline.config import InvalidJob
    from pipeline.evaluation.methods import METHODS

    if unknown := [each for each in methods if each not in METHODS]:
        raise InvalidJob(f"--method: found {unknown[0]!r}; allowed: {', '.join(METHODS)}")
    if ("sam2" in methods) != (sam2_weights is not None):
        found = f"--method {' '.join(methods)} and --sam2-weights {sam2_weights}"
        raise InvalidJob(f"found {found}; allowed: --method sam2 with --sam2-weights DIR, or neither")
    if grid and "m2n2" not in methods:
        raise InvalidJob(f"--grid: found --method {' '.join(methods)}, which has no settings; allowed: m2n2 among them")
    different = list(dict.fromkeys(methods))
    for method in different:
        if method == "m2n2":
            for name, chosen in _combinations(grid):
                yield name or (method if len(different) > 1 else ""), method, chosen
        else:
            yield method if len(different) > 1 else "", method, []


def _combinations(grid: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """(name, overrides) of every combination of the grid's values; one without a name where there is no grid."""
    from pipeline.config import InvalidJob

    axes: dict[str, list[str]] = {}
    for each in grid:
        key, _, text = each.partition("=")
        values = GRID_VALUE.findall(text)
        if not key or not values or ",".join(values) != text:
            raise InvalidJob(f"--grid: found {each!r}; allowed: key=value,value,..., such as backbone.grid=32,64")
        if key in axes:
            found = f"{key} twice: {', '.join(axes[key])} and {each}"
            raise InvalidJob(f"--grid: found {found}; allowed: all values of a key in one --grid")
        axes[key] = [f"{key}={value}" for value in dict.fromkeys(values)]
    for chosen in itertools.product(*axes.values()):
        yield " ".join(chosen), list(chosen)


def _job(data: str, to: str, endpoint_url: str | None, keys: Sequence[str]) -> Job:
    from pipeline.config import job_of_keys

    document: dict[str, Any] = {"images": data, "clicks": data, "output": to}
    if endpoint_url is not None:
        document["storage"] = {"endpoint_url": endpoint_url}
    return job_of_keys(document, keys, "evaluate")


def _run_all(runs: Mapping[str, Run], data: TruthData, address: str | None) -> dict[str, Sessions]:
    from functools import partial

    from jobs.cluster import connected
    from pipeline.evaluation.actors import click_on_ray
    from pipeline.evaluation.evaluate import evaluate as evaluate_data

    found: dict[str, Sessions] = {}
    with connected(next(iter(runs.values())).job, address):
        for names in _with_one_model(runs):
            jobs, request = [runs[name].job for name in names], runs[names[0]].request
            sessions = evaluate_data(jobs, request, data, partial(click_on_ray, jobs, request, data), _log_progress)
            found |= dict(zip(names, sessions, strict=True))
    return {name: found[name] for name in runs}


def _with_one_model(runs: Mapping[str, Run]) -> Iterable[list[str]]:
    """Names of lines that differ in settings and output alone: an image's attention is made once for all of them."""
    groups: dict[tuple[Request, str], list[str]] = {}
    for name, (job, request) in runs.items():
        rest = json.dumps(job.model_dump(mode="json", exclude={"settings", "output"}), sort_keys=True)
        groups.setdefault((request, rest), []).append(name)
    return groups.values()


def _log_progress(done: int, total: int) -> None:
    log.info("images %d/%d", done, total)


def _report(store: Store, runs: Mapping[str, Run], data: TruthData, found: Mapping[str, Sessions]) -> None:
    from m2n2.evaluation import summarise
    from pipeline.evaluation.page import curve, page, table, text_table

    request = next(iter(runs.values())).request
    sessions = {name or request.method: list(each.values()) for name, each in found.items()}
    rows = table({name: summarise(each, request.cap) for name, each in sessions.items()})
    svg = curve(sessions, request.cap)
    how = f"{request.rule.protocol} protocol, noise {request.rule.noise:g}, at most {request.cap} clicks"
    notes = [f"{data.store.url('')}: {len(data.images)} images, {data.objects} objects", how]
    store.put("curve.svg", svg.encode())
    store.put("index.html", page("m2n2 evaluate", rows, svg, notes).encode())
    say(text_table(rows))
    say(store.url("index.html"))


def _compare(before: Store, runs: Mapping[str, Run], found: Mapping[str, Sessions]) -> None:
    from pipeline.config import InvalidJob
    from pipeline.evaluation.against import compare_objects, comparison_text
    from pipeline.evaluation.results import read_objects

    try:
        old = read_objects(before)
    except FileNotFoundError:
        raise InvalidJob(f"{before.url('objects.parquet')}: no evaluation is here to compare with") from None
    for name in found:
        if name:
            say(name)
        say(comparison_text(compare_objects(old, read_objects(runs[name].job.output_store))))
