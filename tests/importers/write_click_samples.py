"""Writes tests/data/clicks: points and boxes as the tools' own libraries write them. Knows nothing of m2n2.

In an environment of its own: pip install datumaro supervision label-studio-sdk

    python tests/importers/write_click_samples.py tests/data/clicks

Two images of 40 x 30 pixels, a.png with a cat (box 4, 6, 20, 22) and a dog (box 22, 3, 38, 27), b.png with a dog
(box 10, 5, 30, 25); their key points are (12, 14), (30, 15) and, of the last one, (20, 15) and (24, 15).
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

SIZE = (30, 40)  # height, width
NAMES = ["cat", "dog"]
OBJECTS = {
    "a": [(0, (4.0, 6.0, 20.0, 22.0), [(12.0, 14.0)]), (1, (22.0, 3.0, 38.0, 27.0), [(30.0, 15.0)])],
    "b": [(1, (10.0, 5.0, 30.0, 25.0), [(20.0, 15.0), (24.0, 15.0)])],
}


def by_datumaro(folder: Path, form: str) -> Path:
    import datumaro
    from datumaro.components.annotation import Bbox, Points

    def annotations(name: str) -> list[datumaro.Annotation]:
        found = []
        for number, (label, (x0, y0, x1, y1), points) in enumerate(OBJECTS[name], start=1):
            if form != "cvat_points":
                found.append(Bbox(x0, y0, x1 - x0, y1 - y0, label=label, id=number, group=number))
            if form != "coco_instances":
                flat = [coordinate for point in points for coordinate in point]
                visible = [2] * len(points) + [0] * (2 - len(points)) if form == "coco_person_keypoints" else None
                flat += [0.0] * (4 - len(flat)) if visible else []
                found.append(Points(flat, visible, label=label, id=number, group=number))
        return found

    items = [
        datumaro.DatasetItem(name, media=datumaro.Image.from_numpy(np.zeros((*SIZE, 3), np.uint8))).wrap(
            annotations=annotations(name)
        )
        for name in OBJECTS
    ]
    categories = {datumaro.AnnotationType.label: datumaro.LabelCategories.from_iterable(NAMES)}
    if form == "coco_person_keypoints":
        pairs = [(number, ["nose", "tail"]) for number in range(len(NAMES))]
        categories[datumaro.AnnotationType.points] = datumaro.PointsCategories.from_iterable(pairs)
    data = datumaro.Dataset.from_iterable(items, categories=categories)
    data.export(str(folder), "cvat" if form.startswith("cvat") else form, save_media=False, image_ext=".png")
    return folder


def by_supervision(folder: Path) -> None:
    import supervision as sv

    images, found = {}, {}
    for name, objects in OBJECTS.items():
        path = f"{name}.png"
        images[path] = np.zeros((*SIZE, 3), np.uint8)
        boxes, labels = np.array([box for _, box, _ in objects]), np.array([label for label, _, _ in objects])
        found[path] = sv.Detections(xyxy=boxes, class_id=labels)
    data = sv.DetectionDataset(NAMES, images, found)
    data.as_yolo(str(folder / "images"), str(folder / "labels"), str(folder / "data.yaml"))


def by_label_studio(coco: Path, target: Path) -> None:
    """Its converter makes tasks of COCO's boxes and key points, as predictions: annotations are named otherwise."""
    from label_studio_sdk.converter.imports.coco import convert_coco_to_ls

    convert_coco_to_ls(str(coco), str(target), out_type="annotations", image_root_url="/data/local-files/?d=")


def main() -> None:
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        for form, file in (("coco_instances", "boxes.json"), ("coco_person_keypoints", "keypoints.json")):
            (found,) = by_datumaro(scratch / form, form).glob("annotations/*.json")
            target.joinpath(file).write_text(json.dumps(json.loads(found.read_text()), indent=1))
        for form in ("cvat_points", "cvat"):
            (found,) = by_datumaro(scratch / form, form).rglob("*.xml")
            shutil.copy(found, target / f"{form}.xml")
        by_supervision(target / "yolo")
        by_label_studio(target / "boxes.json", scratch / "label_studio.json")
        shutil.copy(scratch / "label_studio.json", target)


if __name__ == "__main__":
    main()
