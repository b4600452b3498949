"""What a budget picked, as tools take it in: a list of images, COCO and XML for CVAT, tasks for Label Studio."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipeline.containers.pattern import root_of
from pipeline.export.format import Options
from pipeline.export.labels import Labels
from pipeline.export.one_pass import export_labels
from pipeline.frozen_parts import LabelledImage
from pipeline.review.queue import ReviewQueue
from pipeline.review.run_facts import read_run_facts
from pipeline.review.source import Key, Source
from pipeline.storage.store import Store

IMAGES_KEY, COCO_KEY, TASKS_KEY = "picked/images.txt", "picked/annotations/instances_default.json", "picked/tasks.json"
COCO_OF_CVAT = "cvat/annotations/instances_default.json"
SHOWN = ("object", "category", "reasons", "score", "failure", "rank", "pick", "annotation_id")


def write_picked(source: Source, queue: ReviewQueue, target: Store) -> list[str]:
    """Write the picks, which are as many as the budget and so fit in memory, to `target`; returns the addresses.

    `picked/images.txt` has a key a line, in the queue's order; the COCO file, `picked/cvat/` and `picked/labelstudio/`
    have these images, and of their objects those that were picked and have a mask; `picked/tasks.json` has a task an
    image, with what is to be looked at in it, also where there is no mask.
    """
    by_image: dict[str, list[dict[str, Any]]] = {}
    for row in queue.rows(picked_only=True):
        by_image.setdefault(row["image"], []).append(row)
    target.put(IMAGES_KEY, "".join(f"{image}\n" for image in by_image).encode())
    picked = {(image, row["object"]) for image, rows in by_image.items() for row in rows}
    address = read_run_facts(source.run, source.night).images
    images, below = Store(root_of(address)) if address else None, Store(target.url("picked"), target.storage)
    exported = export_labels(only(source.labels, picked), ("cvat", "labelstudio"), below, Options(images=images))
    target.put(COCO_KEY, below.read(COCO_OF_CVAT))  # one pass over all parts is enough
    target.put(TASKS_KEY, json.dumps(list(_tasks(images, by_image)), indent=1, ensure_ascii=False).encode())
    return [*(target.url(key) for key in (IMAGES_KEY, COCO_KEY, TASKS_KEY)), *exported.addresses]


def only(labels: Labels, objects: set[Key]) -> Labels:
    """The labels of some objects, with the identifiers that they have among all."""

    def images(columns: Sequence[str]) -> Iterator[LabelledImage]:
        for image in labels.images(columns):
            rows = [row for row in image.rows if (row["image"], row["object"]) in objects]
            if rows:
                yield replace(image, rows=rows)

    return replace(labels, images=images)


def _tasks(images: Store | None, by_image: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[dict[str, Any]]:
    for image, rows in by_image.items():
        objects = [{name: row[name] for name in SHOWN} for row in rows]
        yield {"data": {"image": images.url(image) if images else image, "key": image, "review": objects}}
