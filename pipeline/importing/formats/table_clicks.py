"""Tables with a row a click: CSV, TSV and JSON lines with the columns of the contract under any names.

Whole batches are checked at once; the rows that are wrong are looked at one by one, to say what is wrong with them.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.clicks import BOX, WRITTEN_WITH_BOXES, InvalidClicks
from pipeline.importing import fields
from pipeline.importing.image_sizes import ImageSizes
from pipeline.importing.objects import BadRecord, Item, Source
from pipeline.importing.table_rows import NUMBER, TextRows, csv_rows, find_columns, json_line_rows

NAMES = {
    "image": ("image", "image_path", "image_name", "file_name", "filename", "file", "path", "key", "uri", "url"),
    "object": ("object", "object_id", "instance", "instance_id", "annotation_id", "id"),
    "x": ("x", "px_x", "x_px", "click_x", "point_x"),
    "y": ("y", "px_y", "y_px", "click_y", "point_y"),
    "label": ("label", "is_foreground", "foreground", "positive", "is_positive"),
    "category": ("category", "class", "class_name", "category_name"),
    **{name: (name, name.removeprefix("box_")) for name in BOX},
    "width": ("width", "image_width", "img_width"),
    "height": ("height", "image_height", "img_height"),
}
REQUIRED = ("image", "object")
NUMBERS = ("x", "y", *BOX)
POINT_OR_BOX = "a number in x and y, or in all four columns of a box"


def read_csv(source: Source) -> Iterator[Item]:
    """CSV, separated by commas or semicolons. Raises InvalidClicks."""
    return _clicks(source, csv_rows(source, ",;"))


def read_tsv(source: Source) -> Iterator[Item]:
    """CSV, separated by tabs. Raises InvalidClicks."""
    return _clicks(source, csv_rows(source, "\t"))


def read_json_lines(source: Source) -> Iterator[Item]:
    """A JSON object a line. Raises InvalidClicks."""
    return _clicks(source, json_line_rows(source))


def _clicks(source: Source, tables: Iterator[TextRows | BadRecord]) -> Iterator[Item]:
    sizes = ImageSizes(source.images)
    for rows in tables:
        if isinstance(rows, BadRecord):
            yield rows
            continue
        ours = find_columns(source, list(rows.columns), dict(NAMES), REQUIRED)
        has_points, has_boxes = {"x", "y"} <= ours.keys(), set(BOX) <= ours.keys()
        if not has_points and not has_boxes:
            missing = ", ".join(name for name in ("x", "y") if name not in ours)
            raise InvalidClicks(
                f"{source.address}: columns {missing} are missing; found columns: {', '.join(rows.columns)}; say which "
                "they are: --map x=COLUMN"
            )
        length = len(next(iter(rows.columns.values())))
        text = {name: rows.columns[ours[name]] if name in ours else pa.nulls(length, pa.string()) for name in NAMES}
        yield from _checked(source, text, rows, sizes)


def _checked(source: Source, text: dict[str, pa.Array], rows: TextRows, sizes: ImageSizes) -> Iterator[Item]:
    trimmed = {name: pc.utf8_trim_whitespace(text[name]) for name in (*NUMBERS, "label", "width", "height")}
    values = {name: _numbers(trimmed[name]) for name in (*NUMBERS, "width", "height")}
    labels = _labels(trimmed["label"])
    good = pc.and_(pc.is_valid(text["image"]), pc.is_valid(text["object"]))
    good = pc.and_(good, pc.or_(pc.is_valid(labels), pc.is_null(trimmed["label"])))
    whole_point = pc.and_(pc.is_valid(values["x"]), pc.is_valid(values["y"]))
    no_point = pc.and_(pc.is_null(trimmed["x"]), pc.is_null(trimmed["y"]))
    x0, y0, x1, y1 = (values[name] for name in BOX)
    whole_box = pc.fill_null(pc.and_(pc.less(x0, x1), pc.less(y0, y1)), False)
    no_box = pc.and_(
        pc.and_(pc.is_null(trimmed["box_x0"]), pc.is_null(trimmed["box_y0"])),
        pc.and_(pc.is_null(trimmed["box_x1"]), pc.is_null(trimmed["box_y1"])),
    )
    good = pc.and_(good, pc.or_(whole_point, pc.and_(no_point, whole_box)))
    good = pc.and_(good, pc.or_(whole_box, no_box))
    for index in pc.indices_nonzero(pc.invert(good)).to_pylist():
        yield _what_is_wrong({name: column[index].as_py() for name, column in text.items()}, rows.place(index))
    columns = {
        **{name: text[name] for name in ("image", "object", "category")},
        **{name: values[name] for name in NUMBERS},
        "label": pc.fill_null(labels, True),
    }
    if source.units == "fraction":
        places = {index: rows.place(index) for index in pc.indices_nonzero(good).to_pylist()}
        bad, factors = _factors(places, text["image"], values["width"], values["height"], sizes)
        yield from bad.values()
        good = pc.and_(good, pa.array([index not in bad for index in range(len(good))], pa.bool_()))
        for name in NUMBERS:
            columns[name] = pc.multiply(columns[name], factors["x" in name.removeprefix("box_")])
    yield pa.record_batch([columns[name] for name in WRITTEN_WITH_BOXES.names], schema=WRITTEN_WITH_BOXES).filter(good)


def _numbers(text: pa.Array) -> pa.Array:
    """Text to float64, null where it is no finite number."""
    is_number = pc.fill_null(pc.match_substring_regex(text, NUMBER), False)
    values = pc.if_else(is_number, text, pa.scalar(None, pa.string())).cast(pa.float64())
    return pc.if_else(pc.fill_null(pc.is_finite(values), False), values, pa.scalar(None, pa.float64()))


def _labels(text: pa.Array) -> pa.Array:
    """Text to bool, null where it is none of the words for it."""
    lower = pc.utf8_lower(text)
    known = pc.index_in(lower, pa.array(list(fields.LABELS), pa.string()))
    return pa.array(list(fields.LABELS.values()), pa.bool_()).take(known)


def _what_is_wrong(row: dict[str, str | None], place: str) -> BadRecord:
    try:
        fields.text(row["image"], "image", place)
        fields.text(row["object"], "object", place)
        if row["label"] is not None:
            fields.label(row["label"], "label", place)
        box = [row[name] for name in BOX]
        if any(value is not None for value in box):
            numbers = [fields.number(value, name, place) for name, value in zip(BOX, box, strict=True)]
            fields.edges(numbers[0], numbers[1], numbers[2], numbers[3], "box", place)
        for name in ("x", "y"):
            fields.number(row[name], name, place)
    except BadRecord as bad:
        if bad.field in ("x", "y") and row[bad.field] is None:
            return BadRecord(place, bad.field, None, POINT_OR_BOX)
        return bad
    written = {name: row[name] for name in NUMBERS if row[name] is not None}
    return BadRecord(place, "numbers", written, "digits with a point, such as 12.5 or 1e3")  # 1_000, which Python reads


def _factors(
    places: dict[int, str], images: pa.Array, widths: pa.Array, heights: pa.Array, sizes: ImageSizes
) -> tuple[dict[int, BadRecord], tuple[pa.Array, pa.Array]]:
    """Heights and widths that fractions are of, from the row itself or from the image, and rows that have none."""
    bad: dict[int, BadRecord] = {}
    factors: tuple[list[float | None], list[float | None]] = ([None] * len(images), [None] * len(images))
    wanted = {images[i].as_py() for i in places if not (widths[i].is_valid and heights[i].is_valid)}
    sizes.look_ahead(sorted(wanted))
    for index, place in places.items():
        try:
            if widths[index].is_valid and heights[index].is_valid:
                size = (
                    fields.side(widths[index].as_py(), "width", place),
                    fields.side(heights[index].as_py(), "height", place),
                )
            else:
                size = sizes.size_of(images[index].as_py(), place)
        except BadRecord as error:
            bad[index] = error
            continue
        factors[1][index], factors[0][index] = size
    return bad, (pa.array(factors[0], pa.float64()), pa.array(factors[1], pa.float64()))
