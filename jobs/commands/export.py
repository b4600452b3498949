"""`m2n2 export`: the masks of a run or of a library, written to another place in the formats of other tools."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from jobs.commands.missing import tell_missing
from jobs.commands.options import EndpointUrl, RayAddress
from jobs.console import say
from jobs.exit_codes import INCOMPLETE
from jobs.process import write

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from pipeline.config import ExportFormat
    from pipeline.export.format import Options
    from pipeline.export.labels import Labels
    from pipeline.export.masks import Selection
    from pipeline.export.one_pass import Fill
    from pipeline.frozen_parts import FrozenParts
    from pipeline.storage.store import Store


def export(
    output: Annotated[str, typer.Argument(metavar="OUTPUT|LIBRARY")],
    to: Annotated[
        str,
        typer.Option(
            metavar="PATH", help="a folder here, or an address such as s3://...; of one COCO file its name, .json"
        ),
    ],
    format: Annotated[
        str, typer.Option(metavar="F[,F...]", help="formats, written in one pass, see docs/exports.md")
    ] = "coco",
    rle: Annotated[Literal["compressed", "list"], typer.Option(help="how COCO files hold masks")] = "compressed",
    split_by: Annotated[
        str | None,
        typer.Option(metavar="N|category|folder", help="COCO files of N images, or one a category or folder"),
    ] = None,
    layout: Annotated[
        Literal["flat", "annotations"],
        typer.Option(help="names of COCO files: instances.json, or annotations/instances_default.json"),
    ] = "flat",
    min_score: Annotated[float, typer.Option(min=0, max=1, help="leave out masks with a lower score")] = 0.0,
    only: Annotated[
        str | None, typer.Option(metavar="FILE", help="only the images that a text file names, a key a line")
    ] = None,
    without_rejected: Annotated[
        bool, typer.Option("--without-rejected", help="leave out masks that somebody rejected in `m2n2 ui`")
    ] = False,
    accepted_only: Annotated[
        bool, typer.Option("--accepted-only", help="only masks that somebody accepted in `m2n2 ui`")
    ] = False,
    with_images: Annotated[bool, typer.Option("--with-images", help="copy the images, too")] = False,
    parquet: Annotated[bool, typer.Option("--parquet", help="the format hf as Parquet, copied images in it")] = False,
    images: Annotated[
        str | None, typer.Option(metavar="PATH", help="where the images are; default: where the run had them")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="so many Ray tasks at once make pieces of it, of a run only")
    ] = None,
    address: RayAddress = None,
    endpoint_url: EndpointUrl = None,
) -> int:
    """Write the masks of a run or a library to another place.

    Example: m2n2 export s3://bucket/labels/run-7/ --format coco,yolo-seg --to exports/
    """
    from pipeline.containers.source import image_source
    from pipeline.export.decisions import read_decisions
    from pipeline.export.format import Options
    from pipeline.export.masks import Selection
    from pipeline.export.one_pass import export_labels
    from pipeline.storage.filesystem import Storage
    from pipeline.storage.store import Store

    storage = Storage(endpoint_url=endpoint_url)
    here, formats = Store(output, storage), _formats(format)
    _refuse_what_none_has(formats, rle=rle != "compressed", split_by=split_by, layout=layout != "flat", parquet=parquet)
    root = images or _planned_images(here) or (_images_at_its_end(here) if with_images else None)
    if with_images and root is None:
        raise typer.BadParameter(
            f"{output} does not say where its images are; give their folder or address with --images",
            param_hint="--with-images",
        )
    options = Options(
        rle,
        _split_by(split_by),
        layout,
        image_source(root, storage) if root else None,
        with_images=with_images,
        parquet=parquet,
    )
    selection = Selection(
        min_score,
        None if only is None else _listed(Store("", storage), only),
        read_decisions(here) if without_rejected or accepted_only else None,
        accepted_only,
    )
    one_file = to if to.endswith(".json") else None
    if one_file and not _writes_one_file(formats, options):
        raise typer.BadParameter(f"{to}: {format} is a folder of files; allowed: a folder", param_hint="--to")
    if workers is not None:
        _check_pieces(here, formats, options)
    with (
        _read(here) as (labels, parts),
        _fill(parts, labels, formats, options, selection, workers, address) as fill,
    ):
        target = Store("" if one_file else to, storage)
        exported = export_labels(labels, formats, target, options, selection, one_file, fill)
    for address in exported.addresses:
        say(address)
    for note in exported.notes:
        write(sys.stderr, f"m2n2: {note}")
    code = tell_missing(labels.missing, "the export")
    return INCOMPLETE if exported.images_missing else code


def _formats(text: str) -> Sequence[ExportFormat]:
    from pipeline.export.one_pass import FORMATS

    names = {str(name): name for name in FORMATS}
    wanted = [name.strip() for name in text.split(",")]
    if unknown := [name for name in wanted if name not in names]:
        raise typer.BadParameter(f"found {unknown[0]!r}; allowed: {', '.join(names)}", param_hint="--format")
    return [names[name] for name in wanted]


def _refuse_what_none_has(formats: Collection[str], **given: object) -> None:
    """An option that changes nothing in any of the formats is a mistake in one or the other."""
    from pipeline.export.one_pass import FORMATS_WITH

    for option, value in given.items():
        if value and not set(formats) & set(FORMATS_WITH[option]):
            raise typer.BadParameter(
                f"no format of {', '.join(formats)} has it; allowed with: {', '.join(FORMATS_WITH[option])}",
                param_hint=f"--{option.replace('_', '-')}",
            )


def _split_by(text: str | None) -> int | Literal["category", "folder"] | None:
    if text is None:
        return None
    if text == "category":
        return "category"
    if text == "folder":
        return "folder"
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise typer.BadParameter(f"found {text!r}; allowed: a number of images, category, folder", param_hint="--split-by")


def _writes_one_file(formats: Sequence[ExportFormat], options: Options) -> bool:
    from pipeline.export.one_pass import ONE_FILE

    in_one_place = options.split_by is None and options.layout == "flat" and not options.with_images
    return len(formats) == 1 and formats[0] in ONE_FILE and in_one_place


def _listed(store: Store, path: str) -> Collection[str]:
    """The image keys of a text file."""
    from pipeline.config import InvalidJob

    try:
        text = store.read(path).decode("utf-8-sig")
    except FileNotFoundError:
        raise InvalidJob(f"--only: {path}: there is no such file") from None
    return frozenset(line.strip() for line in text.splitlines() if line.strip())


def _planned_images(store: Store) -> str | None:
    """The images root of a run, where its plan has it as a full address or absolute path."""
    from pipeline.plan import find_head

    head = find_head(store)
    root = str(head.identity["images"]) if head else ""
    return root if "://" in root or root.startswith("/") else None


def _images_at_its_end(store: Store) -> str | None:
    """The images root as a run's run.json has it: in full, also where the job's file and so the plan is relative."""
    try:
        root: str = json.loads(store.read("run.json"))["job"]["images"]
    except FileNotFoundError:
        return None
    return root


@contextmanager
def _read(store: Store) -> Iterator[tuple[Labels, FrozenParts | None]]:
    """The labels that are here, and of a run the parts that they are read from."""
    from pipeline.attempts import all_attempts
    from pipeline.config import InvalidJob
    from pipeline.export.labels import labels_of_run
    from pipeline.frozen_parts import freeze_parts
    from pipeline.library.export import labels_of_library
    from pipeline.library.ledger import is_library

    if is_library(store):
        with labels_of_library(store) as labels:
            yield labels, None
        return
    attempts = all_attempts(store)
    if not attempts:
        raise InvalidJob(f"{store.root}: neither a run (plan/plan.json) nor a library (ledger/) is here")
    parts = freeze_parts(store, attempts)
    yield labels_of_run(parts), parts


def _check_pieces(store: Store, formats: Sequence[ExportFormat], options: Options) -> None:
    from pipeline.export.pieces.piece import why_not_in_pieces
    from pipeline.library.ledger import is_library

    problem = why_not_in_pieces(formats, options)
    if problem is None and is_library(store):
        problem = f"found the library {store.root}, whose masks one machine gathers; allowed: a run"
    if problem is not None:
        raise typer.BadParameter(problem, param_hint="--workers")


@contextmanager
def _fill(
    parts: FrozenParts | None,
    labels: Labels,
    formats: Sequence[ExportFormat],
    options: Options,
    selection: Selection,
    workers: int | None,
    address: str | None,
) -> Iterator[Fill | None]:
    """What fills the formats in pieces, with Ray for as long as the block runs; None where that is not asked for."""
    if workers is None or parts is None:
        yield None
        return
    from jobs.cluster import connected
    from pipeline.export.pieces.on_ray import fill_by_tasks
    from pipeline.export.pieces.piece import Whole

    with connected(None, address):
        yield fill_by_tasks(Whole(parts, labels, formats, options, selection), workers)
