"""Fit scores to a user's own data: masks of a run or a library against the truth of some of their images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from m2n2.confidence.built_in import BUILT_IN, SCORE_VERSION
from m2n2.confidence.calibration import Calibration
from m2n2.confidence.evidence import Evidence
from m2n2.confidence.fit import Agreement, agreement, fit_calibration
from pipeline.describe import describe
from pipeline.evaluation.truths import InvalidTruth
from pipeline.export.labels import Labels
from pipeline.parts import Row

FOLDS = 5
FEW_OBJECTS = 50


@dataclass(frozen=True)
class Fitted:
    """A calibration, and how scores agree with IoUs.

    Attributes:
        before: of the built-in scores.
        after: of the new ones; each image scored by a fit on the other four fifths of images, where there are five.
        images: how many were fitted on.
        without_evidence: masks that have none: they were made before version 0.2, or their clicks found nothing.
    """

    calibration: Calibration
    before: Agreement
    after: Agreement
    images: int
    without_evidence: int

    def as_document(self) -> dict[str, Any]:
        """What a job's `calibration` names, as JSON values."""
        fitted_on = {"images": self.images, "before": asdict(self.before), "after": asdict(self.after)}
        return {"score_version": SCORE_VERSION, **self.calibration.as_plain(), "fitted_on": fitted_on}


@dataclass(frozen=True)
class _Measured:
    image: str
    evidence: Evidence
    iou: float


def calibrate(labels: Labels, document: Any, source: str) -> Fitted:
    """Fit the built-in calibration anew to masks whose truth is in a COCO document.

    An object's truth is the annotation that names it (`object`, `attributes.object`, or its `id` where the names of all
    of the image's objects are identifiers of its annotations), else the one that its mask overlaps most, each once.

    Args:
        labels: of a run or a library.
        document: COCO instances, parsed; crowds are left out.
        source: names the document in errors.

    Raises:
        InvalidTruth: the document is no COCO, has none of the images, or no mask has evidence.
    """
    truths = _truths_by_image(document, source)
    measured: list[_Measured] = []
    without_evidence = 0
    for image in labels.images(["rle", "evidence"]):
        rows = [row for row in image.rows if row["rle"] is not None]
        without_evidence += sum(row["evidence"] is None for row in rows)
        truth = truths(rows[0]["image"]) if rows else []
        for row, iou in _ious(rows, truth):
            if row["evidence"] is not None:
                measured.append(_Measured(row["image"], Evidence(**row["evidence"]), iou))
    if not measured and without_evidence:
        raise InvalidTruth(
            f"{source}: none of the masks has the evidence that scores are fitted to: {without_evidence} were made "
            "before version 0.2, or found nothing; label their images again, in another output"
        )
    if not measured:
        raise InvalidTruth(f"{source}: has no object of an image that is labelled; allowed: file_name as in the clicks")
    return _fitted(measured, without_evidence)


def _fitted(measured: Sequence[_Measured], without_evidence: int) -> Fitted:
    ious = [each.iou for each in measured]
    calibration = _fit(measured)
    images = sorted({each.image for each in measured})
    fold_of = {image: number % FOLDS for number, image in enumerate(images)}
    of_fold = {
        fold: _fit([each for each in measured if fold_of[each.image] != fold]) if len(images) >= FOLDS else calibration
        for fold in set(fold_of.values())
    }
    before = [BUILT_IN.estimate(each.evidence) for each in measured]
    after = [of_fold[fold_of[each.image]].estimate(each.evidence) for each in measured]
    return Fitted(calibration, agreement(before, ious), agreement(after, ious), len(images), without_evidence)


def _fit(measured: Sequence[_Measured]) -> Calibration:
    return fit_calibration([each.evidence for each in measured], [each.iou for each in measured], BUILT_IN)


def _truths_by_image(document: Any, source: str) -> Callable[[str], Sequence[Mapping[str, Any]]]:
    """From an image's key to its annotations, each with its mask as `rle`."""
    try:
        sizes = {image["id"]: (int(image["height"]), int(image["width"])) for image in document["images"]}
        by_id: dict[Any, list[Mapping[str, Any]]] = {}
        for each in document["annotations"]:
            if not each.get("iscrowd"):
                rle = _run_lengths(each["segmentation"], sizes[each["image_id"]])
                by_id.setdefault(each["image_id"], []).append({**each, "rle": rle})
        exact = {image["file_name"]: by_id.get(image["id"], []) for image in document["images"]}
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidTruth(f"{source}: not COCO instances: {describe(error)}") from error
    names: dict[str, list[str]] = {}
    for key in exact:
        names.setdefault(PurePosixPath(key).name, []).append(key)

    def annotations(image: str) -> Sequence[Mapping[str, Any]]:
        of_same_name = names.get(PurePosixPath(image).name, [])
        key = image if image in exact or len(of_same_name) != 1 else of_same_name[0]
        return exact.get(key, [])

    return annotations


def _run_lengths(segmentation: Any, size: tuple[int, int]) -> Any:
    if isinstance(segmentation, list):
        return coco_mask.merge(coco_mask.frPyObjects(segmentation, *size))
    if isinstance(segmentation["counts"], list):
        return coco_mask.frPyObjects(segmentation, *segmentation["size"])
    return segmentation


def _ious(rows: Sequence[Row], truths: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Row, float]]:
    """Each object with its IoU, of those that have a truth of the same size."""
    rows = [row for row in rows if truths and row["rle"]["size"] == list(truths[0]["rle"]["size"])]
    if not rows:
        return
    overlaps = coco_mask.iou([row["rle"] for row in rows], [truth["rle"] for truth in truths], [0] * len(truths))
    identifiers = {str(truth["id"]) for truth in truths}
    by_identifier = {row["object"] for row in rows} <= identifiers
    names = [_name(truth, by_identifier) for truth in truths]
    for number, row in enumerate(rows):
        if row["object"] in names:
            place = names.index(row["object"])
            yield row, float(overlaps[number, place])
            overlaps[number], overlaps[:, place] = -1, -1
    for _ in range(min(overlaps.shape)):
        number, place = (int(i) for i in np.unravel_index(np.argmax(overlaps), overlaps.shape))
        if overlaps[number, place] <= 0:
            return
        yield rows[number], float(overlaps[number, place])
        overlaps[number], overlaps[:, place] = -1, -1


def _name(truth: Mapping[str, Any], by_identifier: bool) -> str | None:
    attributes = truth.get("attributes")
    named = truth.get("object", attributes.get("object") if isinstance(attributes, dict) else None)
    if named is not None:
        return str(named)
    return str(truth["id"]) if by_identifier else None
