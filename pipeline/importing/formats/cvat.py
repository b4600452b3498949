"""CVAT's XML for images, version 1.1: points and boxes.

Source of the format: https://docs.cvat.ai/docs/other/xml_format. Shapes with the same attribute `object`, or the same
group, are one object; any other shape is an object of its own, with all its points. Points of a shape whose attribute
`background` is true lie beside the object.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from xml.etree.ElementTree import ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import iterparse

from pipeline.clicks import InvalidClicks
from pipeline.importing import fields
from pipeline.importing.gathered import Gathered
from pipeline.importing.objects import BadRecord, Item, Source

SHAPES = ("points", "box")
EDGES = ("xtl", "ytl", "xbr", "ybr")


def read_cvat(source: Source) -> Iterator[Item]:
    """The objects of all images. Raises InvalidClicks."""
    number, root = 0, None
    with source.store.open_seekable(source.address) as file:
        try:
            for event, element in iterparse(file, events=("start", "end")):
                if root is None:
                    root = element
                    if element.tag != "annotations":
                        raise InvalidClicks(f"{source.address}: found <{element.tag}>; allowed: <annotations> of CVAT")
                elif event == "end" and element.tag == "track":
                    source.lost["tracks of videos"] += 1
                    root.clear()
                elif event == "end" and element.tag == "image":
                    yield from _objects(source, element, f"{source.address}, image {number}")
                    number += 1
                    root.clear()  # or all images would stay in memory
        except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
            if isinstance(error, InvalidClicks):
                raise
            raise InvalidClicks(f"{source.address}: not readable as XML after {number} images: {error}") from error


def _objects(source: Source, image: Any, place: str) -> Iterator[Item]:
    try:
        name = fields.text(image.get("name"), "name", place)
        size = fields.side(image.get("width"), "width", place), fields.side(image.get("height"), "height", place)
    except BadRecord as error:
        yield error
        return
    gathered = Gathered(name, size)
    for number, shape in enumerate(image):
        where = f"{place} ({name}), {shape.tag} {number}"
        if shape.tag not in SHAPES:
            source.lost[f"shapes of type {shape.tag}"] += 1
            continue
        try:
            _add(gathered, shape, str(number), where)
        except BadRecord as error:
            yield error
    yield from gathered.objects()


def _add(gathered: Gathered, shape: Any, number: str, place: str) -> None:
    attributes = {each.get("name"): (each.text or "").strip() for each in shape.iter("attribute")}
    category = fields.text(shape.get("label"), "label", place)
    group = shape.get("group_id")
    name = attributes.get("object") or (f"group {group}" if group not in (None, "", "0") else number)
    if shape.tag == "box":
        x0, y0, x1, y1 = (fields.number(shape.get(edge), edge, place) for edge in EDGES)
        if fields.number(shape.get("rotation", 0), "rotation", place) % 360:
            raise BadRecord(place, "rotation", shape.get("rotation"), "0: a box that is not turned")
        gathered.add(place, name, category, box=fields.edges(x0, y0, x1, y1, "box", place))
        return
    on_object = not ("background" in attributes and fields.label(attributes["background"], "background", place))
    gathered.add(place, name, category, [(*point, on_object) for point in _points(shape.get("points"), place)])


def _points(written: str | None, place: str) -> Iterator[tuple[float, float]]:
    for pair in fields.text(written, "points", place).split(";"):
        coordinates = pair.split(",")
        if len(coordinates) != 2:
            raise BadRecord(place, "points", written, "x,y;x,y")
        yield fields.number(coordinates[0], "points", place), fields.number(coordinates[1], "points", place)
