"""The formats of labelling tools and data hubs hold every mask, decoded here by their own rules, written out."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyarrow.parquet as pq
import pytest
from pycocotools import mask as coco_mask

from pipeline.attempts import all_attempts
from pipeline.export.format import Options
from pipeline.export.labels import labels_of_run
from pipeline.export.one_pass import export_labels
from pipeline.frozen_parts import freeze_parts
from pipeline.storage.store import Store
from tests.pipeline.export.hard_masks import HEIGHT, WIDTH, Key, category_of, make_hard_run


@pytest.fixture(scope="module")
def hard(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[Key, np.ndarray]]:
    """The folder with the three formats, and the true masks."""
    directory = tmp_path_factory.mktemp("tools")
    output, masks = make_hard_run(directory)
    labels = labels_of_run(freeze_parts(output, all_attempts(output)))
    images = Store(str(directory / "photos"))
    options = Options(images=images, with_images=True)
    exported = export_labels(labels, ["labelstudio", "cvat", "hf"], Store(str(directory)), options)
    assert not [note for note in exported.notes if note.startswith(("labelstudio:", "cvat:", "hf:"))]
    parquet = Options(images=images, with_images=True, parquet=True)
    export_labels(labels, ["hf"], Store(str(directory / "parquet")), parquet)
    return directory, masks


def test_label_studios_brush_strokes(hard: tuple[Path, dict[Key, np.ndarray]]) -> None:
    directory, masks = hard
    configuration = ElementTree.parse(directory / "labelstudio" / "labeling_config.xml").getroot()
    brush = configuration.find("BrushLabels")
    assert brush is not None
    categories = {label.get("value") for label in brush}
    found = {}
    for task in json.loads((directory / "labelstudio" / "tasks.json").read_text()):
        for result in task.get("predictions", [{"result": []}])[0]["result"]:
            assert (result["from_name"], result["to_name"]) == (brush.get("name"), brush.get("toName"))
            assert (result["original_width"], result["original_height"]) == (WIDTH, HEIGHT)
            (category,) = result["value"]["brushlabels"]
            assert category in categories
            found[result["meta"]["object"], category] = unpacked(bytes(result["value"]["rle"]))
    assert len(found) == len(masks)
    for key, mask in masks.items():
        pixels = found[key[1], category_of(key)].reshape(HEIGHT, WIDTH, 4)
        assert np.array_equal(pixels, np.repeat(255 * mask[:, :, None], 4, axis=2))


def unpacked(data: bytes) -> np.ndarray:
    """The values that Label Studio's run lengths stand for."""
    bits, at = "".join(f"{byte:08b}" for byte in data), 0

    def number(width: int) -> int:
        nonlocal at
        at += width
        return int(bits[at - width : at], 2)

    count, word = number(32), number(5) + 1
    sizes = [number(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < count:
        assert number(1) == 1
        length = number(sizes[number(2)]) + 1
        values += [number(word)] * length
    return np.array(values, np.uint8)


def test_cvats_masks(hard: tuple[Path, dict[Key, np.ndarray]]) -> None:
    directory, masks = hard
    root = ElementTree.parse(directory / "cvat" / "annotations.xml").getroot()
    labels = {label["name"] for label in json.loads((directory / "cvat" / "labels.json").read_text())}
    assert labels == {label.text for label in root.findall("meta/task/labels/label/name")}
    found = {}
    for image in root.findall("image"):
        assert (image.get("width"), image.get("height")) == (str(WIDTH), str(HEIGHT))
        for each in image.findall("mask"):
            left, top, width, height = (int(each.attrib[name]) for name in ("left", "top", "width", "height"))
            runs = np.array(each.attrib["rle"].split(", "), int)
            mask = np.zeros((HEIGHT, WIDTH), bool)
            pixels = np.repeat(np.arange(runs.size) % 2, runs).reshape(height, width)
            mask[top : top + height, left : left + width] = pixels
            attributes = {one.attrib["name"]: one.text for one in each.findall("attribute")}
            key = (image.attrib["name"], str(attributes["object"]))
            assert each.attrib["label"] == category_of(key)
            found[key] = mask
    assert_same(found, masks)
    assert (directory / "cvat" / "annotations" / "instances_default.json").exists()


def test_hugging_faces_rows(hard: tuple[Path, dict[Key, np.ndarray]]) -> None:
    directory, masks = hard
    lines = (directory / "hf" / "train" / "metadata.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    found = {}
    for row in rows:
        assert (directory / "hf" / "train" / row["file_name"]).exists()
        for name, counts in zip(row["objects"]["object"], row["objects"]["counts"], strict=True):
            found[row["file_name"], name] = coco_mask.decode({"size": [row["height"], row["width"]], "counts": counts})
    assert_same(found, masks)
    table = pq.read_table(directory / "parquet" / "hf" / "data" / "train.parquet")
    assert [row["objects"] for row in table.to_pylist()] == [row["objects"] for row in rows]
    first = table["image"][0].as_py()
    assert first["bytes"] == (directory / "photos" / first["path"]).read_bytes()
    assert b'"_type": "Image"' in table.schema.metadata[b"huggingface"]


def assert_same(found: dict[Key, np.ndarray], masks: dict[Key, np.ndarray]) -> None:
    assert sorted(found) == sorted(masks)
    for key, mask in masks.items():
        assert np.array_equal(found[key].astype(bool), mask), key
