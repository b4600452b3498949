"""Fit scores to a user's own data: masks of a run or a library against the truth of some of their images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from m2n2.confidence.built_in import BUILT_IN, SCORE_VERSION
from m2n2.confidence.calibration import Calibration
from m2n2.confidence.evidence import Evidence
from m2n2.confidence.fit import Agreement, agreement, fit_calibration
from pipeline.evaluation.truths import InvalidTruth
from pipeline.export.labels import Labels
from pipeline.review.truth import ious_with_truth, truths_by_image

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
    truths = truths_by_image(document, source)
    measured: list[_Measured] = []
    without_evidence = 0
    for image in labels.images(["rle", "evidence"]):
        rows = [row for row in image.rows if row["rle"] is not None]
        without_evidence += sum(row["evidence"] is None for row in rows)
        truth = truths(rows[0]["image"]) if rows else []
        for row, iou in ious_with_truth(rows, truth):
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
