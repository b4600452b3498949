"""Hugging Face datasets: an imagefolder with `metadata.jsonl`, or Parquet with the images in it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.export.files import Folder, Names, dump
from pipeline.export.format import Options
from pipeline.export.masks import MaskedImage, Reading

IMAGES_A_GROUP = 100  # of rows of a Parquet file, all in memory at once
OBJECTS: dict[str, tuple[pa.DataType, str]] = {
    "id": (pa.int64(), "int64"),
    "object": (pa.string(), "string"),
    "category": (pa.string(), "string"),
    "category_id": (pa.int64(), "int64"),
    "bbox": (pa.list_(pa.float64()), "[float64]"),
    "area": (pa.int64(), "int64"),
    "score": (pa.float64(), "float64"),
    "counts": (pa.string(), "string"),
    "origin": (pa.int64(), "int64"),
    "clicks": (pa.string(), "string"),
}
SCHEMA = pa.schema(
    [
        ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        ("image_id", pa.int64()),
        ("width", pa.int64()),
        ("height", pa.int64()),
        ("objects", pa.struct([(name, pa.list_(kind)) for name, (kind, _) in OBJECTS.items()])),
    ]
)


class HuggingFace:
    """`train/metadata.jsonl` beside the images, or `data/train.parquet`; README.md says which split is what.

    `objects` has a list a field, an entry an object; `counts` with the image's size is a mask of pycocotools.
    """

    def __init__(self, folder: Folder, options: Options) -> None:
        self._folder, self._path = folder, folder.new_file()
        self._rows: _Rows = _Parquet(self._path, options) if options.parquet else _Lines(self._path)
        self.images_below: str | None = None if options.parquet else "train/"

    def add(self, image: MaskedImage, pixels: bytes | None) -> None:
        """See Format."""
        masks = image.masks
        objects = {
            "id": [mask.id for mask in masks],
            "object": [mask.object for mask in masks],
            "category": [mask.category for mask in masks],
            "category_id": [mask.category_id for mask in masks],
            "bbox": [mask.bbox for mask in masks],
            "area": [mask.area for mask in masks],
            "score": [mask.score for mask in masks],
            "counts": [mask.rle["counts"] for mask in masks],
            "origin": [mask.origin for mask in masks],
            "clicks": [mask.clicks for mask in masks],
        }
        self._rows.add(image, objects, pixels)

    def finish(self, reading: Reading) -> Sequence[str]:
        """See Format."""
        name, pattern = self._rows.finish()
        self._folder.put_file(name, self._path)
        card = f"---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: {pattern}\n---\n"
        self._folder.put("README.md", card.encode())
        return [self._folder.address]


class _Lines:
    """The rows of an imagefolder."""

    def __init__(self, path: Path) -> None:
        self._file, self._names = path.open("w", encoding="utf-8"), Names()

    def add(self, image: MaskedImage, objects: dict[str, Any], pixels: bytes | None) -> None:
        row = {
            "file_name": self._names.path(image.key),
            "image_id": image.id,
            "width": image.width,
            "height": image.height,
        }
        self._file.write(dump(row | {"objects": objects}) + "\n")

    def finish(self) -> tuple[str, str]:
        self._file.close()
        return "train/metadata.jsonl", "train/**"


class _Parquet:
    """The rows of a Parquet file with an Image feature; without its bytes an image is an address."""

    def __init__(self, path: Path, options: Options) -> None:
        metadata = {"huggingface": json.dumps({"info": {"features": _features()}})}
        self._writer = pq.ParquetWriter(path, SCHEMA.with_metadata(metadata), compression="zstd")
        self._options, self._waiting = options, list[dict[str, Any]]()

    def add(self, image: MaskedImage, objects: dict[str, Any], pixels: bytes | None) -> None:
        address = self._options.images.url(image.key) if self._options.images is not None else image.key
        file = {"bytes": pixels, "path": image.key if pixels is not None else address}
        size = {"width": image.width, "height": image.height}
        self._waiting.append({"image": file, "image_id": image.id, **size, "objects": objects})
        if len(self._waiting) >= IMAGES_A_GROUP:
            self._flush()

    def finish(self) -> tuple[str, str]:
        self._flush()
        self._writer.close()
        return "data/train.parquet", "data/train.parquet"

    def _flush(self) -> None:
        self._writer.write_table(pa.Table.from_pylist(self._waiting, schema=self._writer.schema))
        self._waiting.clear()


_Rows = _Lines | _Parquet


def _features() -> dict[str, Any]:
    """The columns as `datasets` stores them in a file."""

    def value(kind: str) -> dict[str, Any]:
        if kind.startswith("["):
            return {"feature": value(kind[1:-1]), "_type": "List"}
        return {"dtype": kind, "_type": "Value"}

    objects = {name: {"feature": value(kind), "_type": "List"} for name, (_, kind) in OBJECTS.items()}
    sizes = {name: value("int64") for name in ("image_id", "width", "height")}
    return {"image": {"_type": "Image"}, **sizes, "objects": objects}
