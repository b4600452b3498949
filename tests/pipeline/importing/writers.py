"""Clicks written in other tools' forms, as their documentation has them, and what comes back of them."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.importing.import_clicks import FormatName, Imported, import_clicks
from pipeline.importing.objects import BoxClicks, Source
from pipeline.inputs.click_files import find_click_files
from pipeline.inputs.click_table import ClickTable
from pipeline.storage.store import Store

WIDTH, HEIGHT = 96, 72
Objects = dict[tuple[str, str], dict[str, Any]]  # (image, object) to category, clicks and box

CLICKS: Objects = {
    ("a.png", "cat, left"): {"category": "cat", "clicks": [(30.0, 30.25, True), (12.5, 70.0, False)], "box": None},
    ("a.png", "7"): {"category": "dog", "clicks": [(66.0, 44.0, True), (68.0, 40.0, True)], "box": None},
    ("sub/b ä.png", "1"): {"category": "dog", "clicks": [(3.0, 1.0, True)], "box": None},
}


def write_csv(objects: Objects, path: Path) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "object", "x", "y", "label", "category"])
        for (image, name), each in objects.items():
            writer.writerows([image, name, x, y, int(label), each["category"]] for x, y, label in each["clicks"])
    return path


def write_keypoints(objects: Objects, path: Path) -> Path:
    """COCO key points: positive ones and negative ones take turns, so that their order stays."""
    most = max(len(each["clicks"]) for each in objects.values())
    names = [f"{kind}_{number}" for number in range(most) for kind in ("positive", "negative")]
    images = {image: number for number, image in enumerate(dict.fromkeys(image for image, _ in objects), start=1)}
    categories = sorted({each["category"] for each in objects.values()})
    annotations = []
    for (image, name), each in objects.items():
        values = [[0, 0, 0] for _ in names]
        for number, (x, y, label) in enumerate(each["clicks"]):
            values[2 * number + (not label)] = [x, y, 2]
        place = {"id": name, "image_id": images[image], "category_id": categories.index(each["category"]) + 1}
        annotations.append(
            place
            | {"keypoints": [number for value in values for number in value], "num_keypoints": len(each["clicks"])}
        )
    document = {
        "annotations": annotations,
        "images": [{"id": i, "file_name": name, "width": WIDTH, "height": HEIGHT} for name, i in images.items()],
        "categories": [{"id": i, "name": name, "keypoints": names} for i, name in enumerate(categories, start=1)],
    }
    path.write_text(json.dumps(document))
    return path


def write_label_studio(objects: Objects, path: Path) -> Path:
    tasks: dict[str, list[dict[str, Any]]] = {}
    for (image, name), each in objects.items():
        for number, (x, y, label) in enumerate(each["clicks"]):
            value = {"x": 100 * x / WIDTH, "y": 100 * y / HEIGHT, "width": 0.5, "keypointlabels": [each["category"]]}
            region = {"id": f"{name}-{number}", "type": "keypointlabels", "value": value, "to_name": "image"}
            size = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}
            told = {"meta": {"text": [name]}, "is_positive": label}
            tasks.setdefault(image, []).append(region | size | told)
    document = [{"data": {"image": image}, "annotations": [{"result": found}]} for image, found in tasks.items()]
    path.write_text(json.dumps(document))
    return path


def imported(
    path: Path,
    form: FormatName,
    target: Path,
    box_clicks: BoxClicks = "centre",
    skip_bad: bool = False,
    **source: Any,
) -> Imported:
    """Import a file into `target`."""
    return import_clicks(Source(str(path), Store(""), **source), form, Store(""), str(target), box_clicks, skip_bad)


def read_back(path: Path) -> Objects:
    """The objects of a Parquet file of clicks, as a run reads them; one that has failed shows its failure."""
    store = Store("")
    with ClickTable(find_click_files([str(path)], store), store, [""]) as table:
        objects = [each for _, found in table.by_image() for each in found]
    return {
        (each.image, each.object): {
            "category": each.category,
            "clicks": [(click["x"], click["y"], click["label"]) for click in each.clicks],
            "box": each.box,
        }
        | ({"failure": each.failure} if each.failure else {})
        for each in objects
    }


def rejected(target: Path) -> Sequence[dict[str, str]]:
    """The lines of `rejected.jsonl` beside a file of clicks."""
    return [json.loads(line) for line in target.with_name("rejected.jsonl").read_text().splitlines()]
