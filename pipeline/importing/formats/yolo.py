"""YOLO's boxes: a text file an image, a line an object, `class x y width height` in fractions of the image.

Source of the format: https://docs.ultralytics.com/datasets/detect/. `data.yaml` names the classes; the sizes of images
are looked up in the images themselves, in `images/` beside `labels/` or where `--images` says. Of outlines (a class and
the corners of a polygon) the upright box around them is taken.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from pipeline.clicks import Box, InvalidClicks
from pipeline.importing import fields
from pipeline.importing.image_sizes import ImageSizes
from pipeline.importing.objects import BadRecord, ImportedObject, Item, Source
from pipeline.storage.store import Store

DATA, LABELS, IMAGES = "data.yaml", "labels", "images"
MOST_BYTES = 64 << 20
FILES_AHEAD = 64


def read_yolo(source: Source) -> Iterator[Item]:
    """The objects of all label files, in their order. Raises InvalidClicks."""
    root = Store(source.address.removesuffix(DATA).rstrip("/"), source.store.storage)
    names, points = _settings(root)
    has_folder = next(iter(root.listing(LABELS)), None) is not None
    labels = Store(root.url(LABELS), root.storage) if has_folder else root
    images = source.images or Store(root.url(IMAGES), root.storage)
    sizes = ImageSizes(images)
    with (
        tempfile.TemporaryDirectory(prefix="m2n2-import-") as directory,
        closing(sqlite3.connect(Path(directory) / "images.sqlite", isolation_level=None)) as database,
    ):
        _list_images(database, images)
        files = (entry.key for entry in labels.listing("") if entry.key.endswith(".txt"))
        empty = True
        while keys := list(islice(files, FILES_AHEAD)):
            empty = False
            found = {key: _image_of(database, key) for key in keys}
            sizes.look_ahead([image for image in found.values() if image])
            for key, image in found.items():
                if image is None:
                    yield BadRecord(labels.url(key), "image", None, f"an image {key[:-4]}.* below {images.root}")
                else:
                    yield from _objects(source, labels, key, image, sizes, names, points)
        if empty:
            raise InvalidClicks(f"{labels.root}: no file of labels; expected NAME.txt for the image NAME")


def _objects(
    source: Source, labels: Store, key: str, image: str, sizes: ImageSizes, names: Sequence[str] | None, points: bool
) -> Iterator[Item]:
    place = labels.url(key)
    try:
        data = labels.read_one_of_many(key, MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise BadRecord(place, "file", f"more than {MOST_BYTES} bytes", "a line an object")
        lines = data.decode().splitlines()
        if not any(line.strip() for line in lines):
            return
        size = sizes.size_of(image, place)
    except UnicodeDecodeError as error:
        yield BadRecord(place, "file", str(error), "UTF-8")
        return
    except BadRecord as error:
        yield error
        return
    for number, line in enumerate(lines, start=1):
        if line.strip():
            where = f"{place}, line {number}"
            try:
                box = _box(source, line.split(), size, points, where)
                category = _category(line.split()[0], names, where)
            except BadRecord as error:
                yield error
            else:
                yield ImportedObject(where, image, str(number), category, [], box, size)


def _box(source: Source, words: Sequence[str], size: tuple[float, float], points: bool, place: str) -> Box:
    numbers = [fields.number(word, f"number {at}", place) for at, word in enumerate(words)]
    width, height = size
    if points and len(numbers) > 5:
        source.lost["key points of poses"] += 1
        numbers = numbers[:5]
    if len(numbers) in (5, 6):
        source.lost["confidences of boxes"] += len(numbers) == 6
        x, y, across, down = numbers[1:5]
        if not all(-1 <= value <= 2 for value in (x, y, across, down)):
            raise BadRecord(place, "box", words[1:5], "fractions of the image's width and height")
        edges = (x - across / 2) * width, (y - down / 2) * height, (x + across / 2) * width, (y + down / 2) * height
        return fields.edges(*edges, "box", place)
    if len(numbers) < 7 or len(numbers) % 2 == 0:
        raise BadRecord(place, "line", f"{len(numbers)} numbers", "class x y width height, or a class and corners")
    source.lost["outlines, of which the upright box is taken"] += 1
    xs, ys = numbers[1::2], numbers[2::2]
    return fields.edges(min(xs) * width, min(ys) * height, max(xs) * width, max(ys) * height, "outline", place)


def _category(word: str, names: Sequence[str] | None, place: str) -> str | None:
    number = fields.number(word, "class", place)
    if names is None:
        return f"{number:g}"
    if number != int(number) or not 0 <= number < len(names):
        raise BadRecord(place, "class", word, f"0..{len(names) - 1}, as {DATA} has it")
    return names[int(number)]


def _settings(root: Store) -> tuple[Sequence[str] | None, bool]:
    """The classes' names, None where nothing names them, and whether lines have key points."""
    place = root.url(DATA)
    try:
        document: Any = yaml.safe_load(root.read(DATA))
        found = fields.mapping(document, "document", place)
        names = found.get("names")
        if isinstance(names, dict) and list(names) == list(range(len(names))):
            names = list(names.values())
        texts = [fields.identifier(name, "names", place) for name in fields.sequence(names, "names", place)]
    except FileNotFoundError:
        return None, False
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidClicks(f"{place}: not readable as YAML: {' '.join(str(error).split())}") from None
    except BadRecord as error:
        raise InvalidClicks(str(error)) from None
    return texts, "kpt_shape" in found


def _list_images(database: sqlite3.Connection, images: Store) -> None:
    database.execute("CREATE TABLE images (stem TEXT PRIMARY KEY, key TEXT)")
    database.execute("BEGIN")
    keys = ((entry.key.rpartition(".")[0], entry.key) for entry in images.listing("") if not entry.key.endswith(".txt"))
    database.executemany("INSERT OR IGNORE INTO images VALUES (?, ?)", keys)


def _image_of(database: sqlite3.Connection, label_key: str) -> str | None:
    found = database.execute("SELECT key FROM images WHERE stem = ?", (label_key[: -len(".txt")],)).fetchone()
    return found[0] if found else None
