"""The truth of some images, and which mask is meant by which of its objects."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from pipeline.describe import describe
from pipeline.evaluation.truths import InvalidTruth
from pipeline.parts import Row
from pipeline.storage.store import Store


def read_truth(store: Store, path: str) -> Any:
    """The JSON document at `path`, which `--truth` named. Raises InvalidTruth."""
    try:
        return json.loads(store.read(path))
    except FileNotFoundError:
        raise InvalidTruth(f"--truth: {path}: there is no such file") from None
    except ValueError as error:
        raise InvalidTruth(f"--truth: {path}: not readable as JSON: {error}") from error


def truths_by_image(document: Any, source: str) -> Callable[[str], Sequence[Mapping[str, Any]]]:
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


def ious_with_truth(rows: Sequence[Row], truths: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Row, float]]:
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
