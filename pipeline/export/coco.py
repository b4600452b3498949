"""COCO instances: one JSON file with images, categories, and a mask (compressed RLE) an object.

Parts are streamed, so memory does not grow with the run, and the bytes depend on the parts alone: the same parts give
the same file. Objects without a mask are left out; `m2n2 status` lists them.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from pipeline.export.labels import Labels
from pipeline.parts import Row
from pipeline.storage.store import Store


def export_coco(labels: Labels, target: Store, key: str) -> str:
    """Write the masks as COCO instances to `key` of `target`; returns its address.

    Identifiers are those of `labels`: they leave gaps where an image or an object has none to show, and stay when it
    has later. Extra keys of an annotation, which importers ignore or keep: `score` and `object`. `info` says which
    masks these are: `fingerprint` and `parts`, see Labels.
    """
    with tempfile.TemporaryDirectory(prefix="m2n2-export-") as directory:
        path = Path(directory) / "instances.json"
        with path.open("w", encoding="utf-8") as file:
            _write(file, labels)
        target.put_file(key, path)
    return target.url(key)


def _write(file: TextIO, labels: Labels) -> None:
    info = {"description": "Masks by m2n2", "fingerprint": labels.fingerprint, "parts": labels.parts_digest}
    file.write(f'{{"info":{_dump(info)},\n"licenses":[],\n"categories":')
    _write_list(file, ({"id": number, "name": name} for name, number in labels.categories.items()))
    file.write(',\n"images":')
    _write_list(file, _images(labels))
    file.write(',\n"annotations":')
    _write_list(file, _annotations(labels))
    file.write("}\n")


def _images(labels: Labels) -> Iterator[dict[str, Any]]:
    for image in labels.images(["width", "height"]):
        decoded = next((row for row in image.rows if row["width"] is not None), None)
        if decoded is not None:
            size = {"width": decoded["width"], "height": decoded["height"]}
            yield {"id": image.id, "file_name": decoded["image"]} | size


def _annotations(labels: Labels) -> Iterator[dict[str, Any]]:
    for image in labels.images(["category", "rle", "bbox", "area", "score"]):
        yield from (_annotation(row, image.id, labels) for row in image.rows if row["rle"] is not None)


def _annotation(row: Row, image_id: int, labels: Labels) -> dict[str, Any]:
    return {
        "id": row["id"],
        "image_id": image_id,
        "category_id": labels.categories[row["category"]],
        "segmentation": row["rle"],
        "bbox": row["bbox"],
        "area": row["area"],
        "iscrowd": 0,
        "score": round(row["score"], 4),
        "object": row["object"],
    }


def _write_list(file: TextIO, items: Iterator[dict[str, Any]]) -> None:
    separator = "[\n"
    for item in items:
        file.write(separator + _dump(item))
        separator = ",\n"
    file.write("]" if separator == ",\n" else "[]")


def _dump(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
