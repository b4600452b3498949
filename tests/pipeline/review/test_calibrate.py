"""Scores fitted to one's own data: which truth is whose, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from m2n2.confidence.evidence import Evidence
from pipeline.evaluation.truths import InvalidTruth
from pipeline.export.labels import Labels
from pipeline.frozen_parts import LabelledImage
from pipeline.review.calibrate import calibrate

SIZE = (20, 30)


def rle(rows: slice, columns: slice) -> dict[str, Any]:
    mask = np.zeros(SIZE, np.uint8)
    mask[rows, columns] = 1
    encoded = coco_mask.encode(np.asfortranarray(mask))
    return {"size": list(SIZE), "counts": encoded["counts"].decode()}


LEFT, RIGHT = rle(slice(0, 10), slice(0, 10)), rle(slice(0, 10), slice(15, 25))
HALF_OF_LEFT = rle(slice(0, 10), slice(0, 5))
SURE, UNSURE = (Evidence(0.5, consensus, 0.5, 0.4, 1.0, 0.0, 1) for consensus in (0.9, 0.1))


def labels(objects: Sequence[tuple[str, str, Any, Evidence | None]]) -> Labels:
    """Of (image, object, RLE, evidence)."""

    def images(columns: Sequence[str]) -> Iterator[LabelledImage]:
        for number, image in enumerate(dict.fromkeys(each[0] for each in objects), start=1):
            yield LabelledImage(
                number,
                [
                    {"image": image, "object": name, "rle": mask, "evidence": evidence and asdict(evidence)}
                    for key, name, mask, evidence in objects
                    if key == image
                ],
            )

    return Labels("f", "d", {}, images, [])


def document(truths: Sequence[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """COCO of (file name, annotation)."""
    names = list(dict.fromkeys(name for name, _ in truths))
    images = [{"id": n, "file_name": name, "height": SIZE[0], "width": SIZE[1]} for n, name in enumerate(names)]
    annotations = [
        {"id": n, "image_id": names.index(name), "iscrowd": 0} | each for n, (name, each) in enumerate(truths, start=7)
    ]
    return {"images": images, "annotations": annotations}


def mean_iou(objects: Sequence[tuple[str, str, Any, Evidence | None]], truths: Any) -> tuple[int, float]:
    """How many objects were measured, and their mean IoU as a calibration of many such masks learns it."""
    many = [(f"{n}/{image}", name, mask, evidence) for n in range(300) for image, name, mask, evidence in objects]
    found = calibrate(labels(many), document([(f"{n}/{name}", each) for n in range(300) for name, each in truths]), "t")
    return found.before.objects // 300, found.calibration.estimate(SURE)


def test_an_object_is_measured_on_the_annotation_that_names_it() -> None:
    objects = [("a.png", "x", LEFT, SURE), ("a.png", "y", RIGHT, SURE)]
    swapped = [("a.png", {"object": "y", "segmentation": LEFT}), ("a.png", {"object": "x", "segmentation": RIGHT})]
    assert mean_iou(objects, swapped) == (2, pytest.approx(0, abs=0.05))
    by_attribute = [
        ("a.png", {"attributes": {"object": "x"}, "segmentation": LEFT}),
        ("a.png", {"attributes": {"object": "y"}, "segmentation": RIGHT}),
    ]
    assert mean_iou(objects, by_attribute) == (2, pytest.approx(1, abs=0.05))


def test_without_names_it_is_the_annotation_that_overlaps_most_each_once() -> None:
    objects = [("a.png", "x", LEFT, SURE), ("a.png", "y", HALF_OF_LEFT, SURE), ("a.png", "z", RIGHT, SURE)]
    truths = [("a.png", {"segmentation": HALF_OF_LEFT}), ("a.png", {"segmentation": RIGHT, "iscrowd": 0})]
    assert mean_iou(objects, truths) == (2, pytest.approx(1, abs=0.05))


def test_names_that_are_identifiers_of_the_images_annotations_count() -> None:
    objects = [("a.png", "7", LEFT, SURE)]
    truths = [("a.png", {"segmentation": HALF_OF_LEFT}), ("a.png", {"segmentation": LEFT})]
    found = calibrate(labels(objects), document(truths), "t")
    assert found.before.objects == 1
    assert found.before.reliability_error == pytest.approx(abs(0.5 - _built_in(SURE)), abs=1e-6)


def _built_in(evidence: Evidence) -> float:
    from m2n2.confidence.built_in import BUILT_IN

    return BUILT_IN.estimate(evidence)


def test_crowds_other_images_and_other_sizes_are_left_out() -> None:
    objects = [("a.png", "x", LEFT, SURE), ("b.png", "x", LEFT, SURE), ("c.png", "x", LEFT, UNSURE)]
    truths = [
        ("a.png", {"segmentation": LEFT, "iscrowd": 1}),
        ("c.png", {"segmentation": [[0, 0, 10, 0, 10, 10, 0, 10]]}),
    ]
    assert calibrate(labels(objects), document(truths), "t").before.objects == 1


def test_what_was_learned_is_told_from_images_that_were_left_out() -> None:
    objects = [(f"{n}.png", "x", LEFT, SURE if n % 2 else UNSURE) for n in range(40)]
    truths = [(f"{n}.png", {"segmentation": LEFT if n % 2 else HALF_OF_LEFT}) for n in range(40)]
    found = calibrate(labels(objects), document(truths), "t")
    assert (found.images, found.after.objects) == (40, 40)
    assert found.after.rank_correlation > 0.9
    assert found.after.reliability_error < found.before.reliability_error


@pytest.mark.parametrize(
    ("objects", "truth", "message"),
    [
        ([("a.png", "x", LEFT, None)], document([("a.png", {"segmentation": LEFT})]), "t: none of the masks has the"),
        ([("b.png", "x", LEFT, SURE)], document([("a.png", {"segmentation": LEFT})]), "t: has no object of an image"),
        ([("a.png", "x", LEFT, SURE)], {"images": []}, "t: not COCO instances: KeyError: 'annotations'"),
        ([("a.png", "x", LEFT, SURE)], [], "t: not COCO instances"),
    ],
)
def test_what_cannot_be_fitted_is_refused_in_one_line(objects: Any, truth: Any, message: str) -> None:
    with pytest.raises(InvalidTruth) as caught:
        calibrate(labels(objects), truth, "t")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
