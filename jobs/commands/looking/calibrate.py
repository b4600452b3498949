"""`m2n2 calibrate`: scores that estimate the IoU on one's own data."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.commands.options import EndpointUrl
from jobs.console import log, say
from jobs.exit_codes import COMPLETE

if TYPE_CHECKING:
    from m2n2.confidence.fit import Agreement


def calibrate(
    output: Annotated[str, typer.Argument(metavar="OUTPUT|LIBRARY")],
    truth: Annotated[str, typer.Option(metavar="FILE", help="COCO instances with the truth of some of its images")],
    to: Annotated[str, typer.Option(metavar="FILE", help="what a job's `calibration` then names")] = "calibration.json",
    endpoint_url: EndpointUrl = None,
) -> int:
    """Fit scores to masks of a run or a library whose truth is known, and say how well they then tell the IoU.

    Example: m2n2 calibrate s3://bucket/labels/run-7/ --truth checked/instances.json --to calibration.json
    """
    from pipeline.review.calibrate import FEW_OBJECTS
    from pipeline.review.calibrate import calibrate as fit
    from pipeline.review.source import open_source
    from pipeline.review.truth import read_truth
    from pipeline.storage.filesystem import Storage
    from pipeline.storage.store import Store

    storage = Storage(endpoint_url=endpoint_url)
    document = read_truth(Store("", storage), truth)
    with open_source(Store(output, storage)) as source:
        fitted = fit(source.labels, document, truth)
    if fitted.without_evidence:
        log.warning("%d masks have no evidence and were left out", fitted.without_evidence)
    if fitted.before.objects < FEW_OBJECTS:
        log.warning("%d objects are few: the new scores stay close to the built-in ones", fitted.before.objects)
    Store("", storage).put(to, json.dumps(fitted.as_document(), indent=1).encode())
    say(f"{fitted.before.objects} objects of {fitted.images} images")
    say(f"built-in scores  {_told(fitted.before)}")
    say(f"new scores       {_told(fitted.after)}")
    say(f"{to}: name it in a job as `calibration: {to}`")
    return COMPLETE


def _told(found: Agreement) -> str:
    return f"rank correlation {found.rank_correlation:.2f}, reliability error {found.reliability_error:.3f}"
