"""Make the report of a run or of a library and put it where people look: `report/index.html`."""

from __future__ import annotations

import logging
from typing import Literal, cast

from pipeline.config import InvalidJob
from pipeline.containers.source import image_source
from pipeline.review.queue import ReviewQueue
from pipeline.review.report.contact_sheets import Images, contact_sheets
from pipeline.review.run_facts import RunFacts, read_run_facts
from pipeline.review.source import Source, open_source
from pipeline.review.truth import ious_with_truth, read_truth, truths_by_image
from pipeline.storage.store import Store

REPORT_KEY = "report/index.html"

log = logging.getLogger("m2n2.report")


def check_installed() -> None:
    """Raise InvalidJob where what draws the page is not installed."""
    try:
        import jinja2  # noqa: F401
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise InvalidJob(f"the report: {error}; pip install 'm2n2[report]'") from error


def report_at(output: Store, target: Store, key: str = REPORT_KEY) -> str:
    """Make the page of the run or library below `output` and put it at `key` of `target`; returns its address.

    Raises:
        InvalidJob: neither a run nor a library is there, or what draws the page is not installed.
        PlanDamaged, ForeignPart: the output is not in order.
    """
    with open_source(output) as source:
        return write_report(source, target, key)


def write_report(
    source: Source, target: Store, key: str = REPORT_KEY, images: str | None = None, truth: str | None = None
) -> str:
    """Make the page of `source` and put it at `key` of `target`; returns its address.

    The same labels give the same page. An image that cannot be had is a card without a picture.

    Args:
        images: where the images are, if not where the run says.
        truth: a COCO file with the truth of some of the images.

    Raises:
        InvalidTruth: the file is not there, or is no COCO.
        InvalidJob, PlanDamaged, ForeignPart: as `report_at`.
    """
    check_installed()
    from pipeline.review.report.figures import figures, totals
    from pipeline.review.report.page import render

    facts = read_run_facts(source.run, source.night)
    found = _images(source, facts, images)
    known = None if truth is None else _scores_with_truth(source, truth)
    with ReviewQueue(source) as queue:
        masks, failures = contact_sheets(source, queue, found)
        page = render(
            source,
            facts,
            found.source if found else None,
            totals(queue),
            queue.counts(),
            figures(queue, facts, known),
            masks,
            failures,
        )
    target.put(key, page.encode("utf-8", "replace"))
    return target.url(key)


def _scores_with_truth(source: Source, path: str) -> list[tuple[float, float]]:
    """Score and IoU of every mask whose truth the file at `path` has."""
    truths = truths_by_image(read_truth(Store("", source.store.storage), path), path)
    found = []
    for image in source.labels.images(["rle", "score"]):
        if truth := truths(image.rows[0]["image"]):
            masks = [row for row in image.rows if row["rle"] is not None]
            found += [(float(row["score"]), iou) for row, iou in ious_with_truth(masks, truth)]
    return found


def _images(source: Source, facts: RunFacts, address: str | None) -> Images | None:
    address = address or facts.images
    if address is None:
        return None
    if "://" not in address and not address.startswith("/"):
        log.warning("images: %r is relative to a file that is not here: --images says where they are", address)
        return None
    orientation = cast(Literal["stored", "displayed"], facts.orientation)
    return Images(image_source(address, source.store.storage), facts.limits, orientation)
