"""COCO instances: one JSON file with images, categories, and a mask (compressed RLE) an object.

Parts are streamed, so memory does not grow with the run, and the bytes depend on the parts alone: the same parts give
the same file. Objects without a mask are left out; `m2n2 status` lists them.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from pipeline.parts import Row
from pipeline.storage.store import Store

# Called with the columns that are needed; gives the rows image after image, in the same order at every call.
ImageRows = Callable[[Sequence[str]], Iterator[list[Row]]]


def export_coco(image_rows: ImageRows, fingerprint: str, target: Store, key: str) -> str:
    """Write the masks as COCO instances to `key` of `target`; returns its address.

    Identifiers count from 1 in the order of the rows, categories in alphabetical order, so they are the same at every
    export of the same parts. Extra keys of an annotation, which importers ignore or keep: `score` and `object`.

    Args:
        image_rows: the rows of every image, such as `partial(newest_rows, store, attempts)`.
        fingerprint: of the plan, or of whatever else decides the rows.
    """
    with tempfile.TemporaryDirectory(prefix="m2n2-export-") as directory:
        path = Path(directory) / "instances.json"
        with path.open("w", encoding="utf-8") as file:
            _write(file, image_rows, fingerprint)
        target.put_file(key, path)
    return target.url(key)


def _write(file: TextIO, image_rows: ImageRows, fingerprint: str) -> None:
    names = sorted({row["category"] for rows in image_rows(_CATEGORY) for row in rows})
    categories = {name: number for number, name in enumerate(names, start=1)}
    info = {"description": "Masks by m2n2", "fingerprint": fingerprint}
    file.write(f'{{"info":{_dump(info)},\n"licenses":[],\n"categories":')
    _write_list(file, ({"id": number, "name": name} for name, number in categories.items()))
    file.write(',\n"images":')
    _write_list(file, _images(image_rows))
    file.write(',\n"annotations":')
    _write_list(file, _annotations(image_rows, categories))
    file.write("}\n")


_CATEGORY = ["image", "object", "category"]
_SIZE = ["image", "object", "width", "height"]
_MASK = ["image", "object", "width", "category", "rle", "bbox", "area", "score"]


def _images(image_rows: ImageRows) -> Iterator[dict[str, Any]]:
    for number, rows in enumerate(_decoded(image_rows(_SIZE)), start=1):
        row = rows[0]
        yield {"id": number, "file_name": row["image"], "width": row["width"], "height": row["height"]}


def _annotations(image_rows: ImageRows, categories: dict[str, int]) -> Iterator[dict[str, Any]]:
    number = 0
    for image_id, rows in enumerate(_decoded(image_rows(_MASK)), start=1):
        for row in rows:
            if row["rle"] is None:
                continue
            number += 1
            yield {
                "id": number,
                "image_id": image_id,
                "category_id": categories[row["category"]],
                "segmentation": row["rle"],
                "bbox": row["bbox"],
                "area": row["area"],
                "iscrowd": 0,
                "score": round(row["score"], 4),
                "object": row["object"],
            }


def _decoded(images: Iterator[list[Row]]) -> Iterator[list[Row]]:
    """Rows of every image whose size is known, those with a size first."""
    for rows in images:
        rows = sorted(rows, key=lambda row: row["width"] is None)
        if rows[0]["width"] is not None:
            yield rows


def _write_list(file: TextIO, items: Iterator[dict[str, Any]]) -> None:
    separator = "[\n"
    for item in items:
        file.write(separator + _dump(item))
        separator = ",\n"
    file.write("]" if separator == ",\n" else "[]")


def _dump(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
