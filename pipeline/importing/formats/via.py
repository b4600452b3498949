"""VGG Image Annotator 1 and 2: points and rectangles of its JSON, as an export or a saved project.

Source of the format: https://www.robots.ox.ac.uk/~vgg/software/via/. An object's category is the region's attribute
`category`, `class`, `label`, `name` or `type`, or what `--map category=NAME` says; regions with the same attribute
`object` are one object, any other region is an object of its own. A region whose attribute `background` is true lies
beside the object.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.clicks import InvalidClicks
from pipeline.importing import fields
from pipeline.importing.gathered import Gathered
from pipeline.importing.json_stream import opening, pairs
from pipeline.importing.objects import BadRecord, Item, Source

CATEGORIES = ("category", "class", "label", "name", "type")
PROJECT = "_via_img_metadata"


def read_via(source: Source) -> Iterator[Item]:
    """The objects of all images. Raises InvalidClicks."""
    if (found := opening(source)) != "{":
        raise InvalidClicks(f"{source.address}: found {found!r} at the start; allowed: JSON of VIA 1 or 2")
    images = 0
    for key, value in _files(source):
        images += 1
        try:
            yield from _objects(source, fields.mapping(value, "image", key), f"{source.address}, {key!r}")
        except BadRecord as error:
            yield error
    if not images:
        raise InvalidClicks(f"{source.address}: found no image with regions; allowed: JSON of VIA 1 or 2")


def _files(source: Source) -> Iterator[tuple[str, Any]]:
    """The images of an export, or else those of a project, where they stand below a key of their own."""
    is_project = False
    for key, value in pairs(source, ""):
        if key.startswith("_via_"):
            is_project = True
            break
        yield key, value
    if is_project:
        yield from pairs(source, PROJECT)


def _objects(source: Source, image: Mapping[str, Any], place: str) -> Iterator[Item]:
    gathered = Gathered(fields.text(image.get("filename"), "filename", place))
    regions = image.get("regions")
    if isinstance(regions, Mapping):  # VIA 1
        regions = list(regions.values())
    for number, each in enumerate(fields.sequence(regions, "regions", place)):
        where = f"{place}, regions[{number}]"
        try:
            _add(source, gathered, fields.mapping(each, "region", where), str(number), where)
        except BadRecord as error:
            yield error
    yield from gathered.objects()


def _add(source: Source, gathered: Gathered, region: Mapping[str, Any], number: str, place: str) -> None:
    shape = fields.mapping(region.get("shape_attributes"), "shape_attributes", place)
    attributes = fields.mapping(region.get("region_attributes") or {}, "region_attributes", place)
    kind = shape.get("name")
    if kind not in ("point", "rect"):
        source.lost[f"regions of shape {kind}"] += 1
        return
    wanted = [source.columns["category"]] if "category" in source.columns else CATEGORIES
    category = next((found for name in wanted if (found := _chosen(attributes.get(name), name, place))), None)
    name = _chosen(attributes.get("object"), "object", place) or number
    if kind == "rect":
        values = [shape.get(side) for side in ("x", "y", "width", "height")]
        gathered.add(place, name, category, box=fields.corner_and_size(values, "rect", place))
        return
    background = _chosen(attributes.get("background"), "background", place)
    on_object = not (background and fields.label(background, "background", place))
    x, y = (fields.number(shape.get(axis), axis, place) for axis in ("cx", "cy"))
    gathered.add(place, name, category, [(x, y, on_object)])


def _chosen(value: Any, name: str, place: str) -> str | None:
    """An attribute's value: a text or number, or of check boxes the one that is ticked."""
    if isinstance(value, Mapping):
        ticked = [key for key, is_ticked in value.items() if is_ticked]
        if len(ticked) > 1:
            raise BadRecord(place, name, ticked, "one of them ticked")
        value = ticked[0] if ticked else None
    return None if value is None or value == "" else fields.identifier(value, name, place)
