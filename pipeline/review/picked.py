"""What a budget picked, as tools take it in: a list of images, COCO for a task of CVAT, tasks of Label Studio."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipeline.export.coco import export_coco
from pipeline.export.labels import Labels
from pipeline.frozen_parts import LabelledImage
from pipeline.review.queue import ReviewQueue
from pipeline.review.run_facts import read_run_facts
from pipeline.review.source import Key, Source
from pipeline.storage.store import Store

IMAGES_KEY, COCO_KEY, TASKS_KEY = "picked/images.txt", "picked/annotations/instances_default.json", "picked/tasks.json"
SHOWN = ("object", "category", "reasons", "score", "failure", "rank", "pick", "annotation_id")


def write_picked(source: Source, queue: ReviewQueue, target: Store) -> list[str]:
    """Write the picks, which are as many as the budget and so fit in memory, to `target`; returns the addresses.

    `picked/images.txt` has a key a line, in the queue's order; the COCO file has these images, and of their objects
    those that were picked; `picked/tasks.json` has a task an image, with what is to be looked at in it.
    """
    by_image: dict[str, list[dict[str, Any]]] = {}
    for row in queue.rows(picked_only=True):
        by_image.setdefault(row["image"], []).append(row)
    target.put(IMAGES_KEY, "".join(f"{image}\n" for image in by_image).encode())
    picked = {(image, row["object"]) for image, rows in by_image.items() for row in rows}
    export_coco(only(source.labels, picked), target, COCO_KEY)
    target.put(TASKS_KEY, json.dumps(list(_tasks(source, by_image)), indent=1, ensure_ascii=False).encode())
    return [target.url(key) for key in (IMAGES_KEY, COCO_KEY, TASKS_KEY)]


def only(labels: Labels, objects: set[Key]) -> Labels:
    """The labels of some objects, with the identifiers that they have among all."""

    def images(columns: Sequence[str]) -> Iterator[LabelledImage]:
        for image in labels.images(columns):
            rows = [row for row in image.rows if (row["image"], row["object"]) in objects]
            if rows:
                yield replace(image, rows=rows)

    return replace(labels, images=images)


def _tasks(source: Source, by_image: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[dict[str, Any]]:
    address = read_run_facts(source.run, source.night).images
    images = Store(address) if address else None
    for image, rows in by_image.items():
        objects = [{name: row[name] for name in SHOWN} for row in rows]
        yield {"data": {"image": images.url(image) if images else image, "key": image, "review": objects}}
