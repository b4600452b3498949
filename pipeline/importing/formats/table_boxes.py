"""Tables with a row a box, as detectors write them: CSV or TSV with a header, or JSON lines.

The four columns are edges, `x0, y0, x1, y1` or `xmin, ymin, xmax, ymax`, or a corner and a size, `x, y, width, height`.
A row without a column for its object is an object of its own, named by the row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pipeline.clicks import Box, InvalidClicks
from pipeline.importing import fields
from pipeline.importing.formats.table_clicks import NAMES as CLICK_NAMES
from pipeline.importing.image_sizes import ImageSizes
from pipeline.importing.objects import BadRecord, ImportedObject, Item, Source
from pipeline.importing.table_rows import csv_rows, find_columns, json_line_rows

JSON_LINES = (".jsonl", ".ndjson", ".json")
EDGES = ("x0", "y0", "x1", "y1")
CORNER = ("x", "y", "width", "height")
NAMES = {
    "image": CLICK_NAMES["image"],
    "object": CLICK_NAMES["object"],
    "category": (*CLICK_NAMES["category"], "label", "name"),
    "x0": ("x0", "box_x0", "xmin", "x_min", "xtl", "left"),
    "y0": ("y0", "box_y0", "ymin", "y_min", "ytl", "top"),
    "x1": ("x1", "box_x1", "xmax", "x_max", "xbr", "right"),
    "y1": ("y1", "box_y1", "ymax", "y_max", "ybr", "bottom"),
    "x": ("x", "box_x"),
    "y": ("y", "box_y"),
    "width": ("width", "w", "box_width"),
    "height": ("height", "h", "box_height"),
    "image_width": ("image_width", "img_width"),
    "image_height": ("image_height", "img_height"),
    "score": ("score", "confidence"),
}


def read_table_of_boxes(source: Source) -> Iterator[Item]:
    """A box a row. Raises InvalidClicks."""
    sizes = ImageSizes(source.images)
    is_json = source.address.lower().endswith(JSON_LINES)
    for rows in json_line_rows(source) if is_json else csv_rows(source, ",;\t"):
        if isinstance(rows, BadRecord):
            yield rows
            continue
        ours = find_columns(source, list(rows.columns), dict(NAMES), ["image"])
        sides = next((names for names in (EDGES, CORNER) if set(names) <= ours.keys()), None)
        if sides is None:
            raise InvalidClicks(
                f"{source.address}: found columns {', '.join(rows.columns)}; allowed: {', '.join(EDGES)}, or "
                f"{', '.join(CORNER)}; say which they are: --map x0=COLUMN"
            )
        table = {name: rows.columns[column].to_pylist() for name, column in ours.items()}
        for index in range(len(table["image"])):
            place = rows.place(index)
            try:
                yield _object(source, {name: column[index] for name, column in table.items()}, sides, sizes, place)
            except BadRecord as error:
                yield error


def _object(
    source: Source, row: Mapping[str, str | None], sides: tuple[str, ...], sizes: ImageSizes, place: str
) -> ImportedObject:
    image = fields.text(row["image"], "image", place)
    name = fields.text(row["object"], "object", place) if "object" in row else place.rpartition(" ")[2]
    category = row.get("category")
    source.lost["scores of boxes"] += row.get("score") is not None
    size = None
    if row.get("image_width") is not None and row.get("image_height") is not None:
        size = (
            fields.side(row["image_width"], "image_width", place),
            fields.side(row["image_height"], "image_height", place),
        )
    elif source.units == "fraction" or source.images is not None:
        size = sizes.size_of(image, place)
    return ImportedObject(place, image, name, category, [], _box(source, row, sides, size, place), size)


def _box(
    source: Source,
    row: Mapping[str, str | None],
    sides: tuple[str, ...],
    size: tuple[float, float] | None,
    place: str,
) -> Box:
    numbers = [fields.number(row[side], side, place) for side in sides]
    if source.units == "fraction":
        assert size is not None, "fractions are of a size"
        numbers = [value * side for value, side in zip(numbers, (*size, *size), strict=True)]
    if sides == CORNER:
        return fields.corner_and_size(numbers, "box", place)
    return fields.edges(numbers[0], numbers[1], numbers[2], numbers[3], "box", place)
