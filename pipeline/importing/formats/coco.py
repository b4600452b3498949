"""COCO: keypoints, boxes and masks of a document with `images`, `annotations` and `categories`.

Source of the format: https://cocodataset.org/#format-data. Keypoints and boxes are taken as they are: pixels from the
image's top left corner. The document is read twice, so that its lists may stand in any order.
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from pipeline.clicks import InvalidClicks
from pipeline.importing import fields
from pipeline.importing.json_stream import items, opening
from pipeline.importing.mask_click import interior_click
from pipeline.importing.objects import BadRecord, Click, ImportedObject, Item, Source

HIDDEN, VISIBLE = 1, 2  # a keypoint's third number; 0: it is not there
BACKGROUND = ("background", "negative")  # how the names of keypoints begin that lie beside the object


class _Document:
    """Images and categories of a document: images in a database on disk, since there may be millions of them."""

    def __init__(self, source: Source, database: sqlite3.Connection) -> None:
        self._database = database
        self.categories = {}
        for place, each in _entries(source, "categories"):
            name = fields.text(each.get("name"), "name", place)
            self.categories[_key(each.get("id"))] = (name, each.get("keypoints") or [])
        database.execute("CREATE TABLE images (id TEXT PRIMARY KEY, name TEXT, width REAL, height REAL)")
        for place, each in _entries(source, "images"):
            name = fields.text(each.get("file_name"), "file_name", place)
            size = [_side(each.get(side)) for side in ("width", "height")]
            values = (_key(each.get("id")), name, *size)
            try:
                database.execute("INSERT INTO images VALUES (?, ?, ?, ?)", values)
            except sqlite3.IntegrityError:
                raise BadRecord(place, "id", each.get("id"), "an id that no other image has") from None

    def image(self, annotation: Mapping[str, Any], place: str) -> tuple[str, tuple[float, float] | None]:
        """The image's key and size. Raises BadRecord."""
        image_id = annotation.get("image_id")
        found = self._database.execute("SELECT * FROM images WHERE id = ?", (_key(image_id),)).fetchone()
        if found is None:
            raise BadRecord(place, "image_id", image_id, "an id of `images`")
        _, name, width, height = found
        return name, None if width is None or height is None else (width, height)

    def category(self, annotation: Mapping[str, Any], place: str) -> tuple[str | None, list[str]]:
        """The category's name and its keypoints' names. Raises BadRecord."""
        category_id = annotation.get("category_id")
        if not self.categories and category_id is None:
            return None, []
        if (found := self.categories.get(_key(category_id))) is None:
            raise BadRecord(place, "category_id", category_id, "an id of `categories`")
        return found


def read_keypoints(source: Source) -> Iterator[Item]:
    """Every visible keypoint is a click. Raises InvalidClicks."""
    return _read(source, _keypoints)


def read_boxes(source: Source) -> Iterator[Item]:
    """Every `bbox` is a box. Raises InvalidClicks."""
    return _read(source, _box)


def read_masks(source: Source) -> Iterator[Item]:
    """Every `segmentation` gives a click at its most interior point. Raises InvalidClicks."""
    return _read(source, _mask)


Reader = Callable[[Source, _Document, Mapping[str, Any], str], ImportedObject | None]


def _read(source: Source, reader: Reader) -> Iterator[Item]:
    if (found := opening(source)) != "{":
        hint = "; a list of results has no names of images" if found == "[" else ""
        raise InvalidClicks(
            f"{source.address}: found {found!r} at the start{hint}; allowed: an object with images, annotations, "
            "categories"
        )
    with (
        tempfile.TemporaryDirectory(prefix="m2n2-import-") as directory,
        closing(sqlite3.connect(Path(directory) / "images.sqlite", isolation_level=None)) as database,
    ):
        database.execute("PRAGMA synchronous=OFF")
        database.execute("BEGIN")
        try:
            document = _Document(source, database)
        except BadRecord as error:  # without it, nobody knows what the annotations mean
            raise InvalidClicks(str(error)) from None
        for number, each in enumerate(items(source, "annotations.item")):
            place = f"{source.address}, annotations[{number}]"
            try:
                found_object = reader(source, document, fields.mapping(each, "annotation", place), place)
            except BadRecord as error:
                yield error
            else:
                if found_object is not None:
                    yield found_object


def _keypoints(source: Source, document: _Document, each: Mapping[str, Any], place: str) -> ImportedObject | None:
    image, size = document.image(each, place)
    category, names = document.category(each, place)
    numbers = fields.sequence(each.get("keypoints"), "keypoints", place)
    if len(numbers) % 3 or (names and len(numbers) != 3 * len(names)):
        allowed = f"{3 * len(names)} numbers" if names else "three numbers a keypoint"
        raise BadRecord(place, "keypoints", f"{len(numbers)} numbers", allowed)
    clicks: list[Click] = []
    for position in range(len(numbers) // 3):
        x, y, visible = (
            fields.number(value, f"keypoints[{3 * position + part}]", place)
            for part, value in enumerate(numbers[3 * position : 3 * position + 3])
        )
        if visible not in (0, HIDDEN, VISIBLE):
            raise BadRecord(place, f"keypoints[{3 * position + 2}]", visible, "0, 1 or 2")
        source.lost["keypoints that are hidden by something else (v = 1)"] += visible == HIDDEN
        if visible == VISIBLE:
            clicks.append((x, y, not (names and str(names[position]).lower().startswith(BACKGROUND))))
    if not any(label for _, _, label in clicks):
        source.lost["objects without a visible keypoint"] += 1
        return None
    return ImportedObject(place, image, fields.identifier(each.get("id"), "id", place), category, clicks, None, size)


def _is_crowd(source: Source, each: Mapping[str, Any]) -> bool:
    """Whether an annotation is of no single object; if so, it is counted as lost."""
    if not each.get("iscrowd"):
        return False
    source.lost["crowds (iscrowd = 1), which are no single object"] += 1
    return True


def _box(source: Source, document: _Document, each: Mapping[str, Any], place: str) -> ImportedObject | None:
    if _is_crowd(source, each):
        return None
    image, size = document.image(each, place)
    category, _ = document.category(each, place)
    box = fields.corner_and_size(each.get("bbox"), "bbox", place)
    return ImportedObject(place, image, fields.identifier(each.get("id"), "id", place), category, [], box, size)


def _mask(source: Source, document: _Document, each: Mapping[str, Any], place: str) -> ImportedObject | None:
    if _is_crowd(source, each):
        return None
    image, size = document.image(each, place)
    category, _ = document.category(each, place)
    click = interior_click(each.get("segmentation"), size, place)
    source.lost["masks, of which a click at the most interior point is left"] += 1
    return ImportedObject(place, image, fields.identifier(each.get("id"), "id", place), category, [click], None, size)


def _entries(source: Source, name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for number, each in enumerate(items(source, f"{name}.item")):
        place = f"{source.address}, {name}[{number}]"
        yield place, fields.mapping(each, name, place)


def _key(identifier: Any) -> str:
    """Numbers and texts as keys that differ: 1 is not "1"; 1.0 is 1, as JavaScript writes numbers."""
    if isinstance(identifier, float) and identifier.is_integer():
        identifier = int(identifier)
    return json.dumps(identifier, default=str)


def _side(value: Any) -> float | None:
    """A width or height; None where it is none."""
    try:
        return fields.side(value, "size", "")
    except BadRecord:
        return None
