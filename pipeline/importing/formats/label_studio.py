"""Label Studio's JSON: key points and rectangles, in per cent of the image, of each task's last annotation.

Source of the format: https://labelstud.io/guide/export#Label-Studio-JSON-format-of-annotated-tasks. Regions that have
the same text in `meta.text`, or the same parent region, are one object; any other region is an object of its own. A key
point with `is_positive: false`, as the backends for interactive segmentation have it, lies beside the object.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from pipeline.clicks import Box, InvalidClicks
from pipeline.importing import fields
from pipeline.importing.gathered import Gathered
from pipeline.importing.json_stream import items, opening
from pipeline.importing.objects import BadRecord, Item, Source

IMAGE_KEYS = ("image", "img", "image_url", "url")
LOCAL_FILES, UPLOADS = "/data/local-files/", "/data/upload/"
DIGITS = 4  # after the point, of pixels: per cent of a pixel's place has no more


def read_label_studio(source: Source) -> Iterator[Item]:
    """The objects of all tasks. Raises InvalidClicks."""
    if (found := opening(source)) != "[":
        raise InvalidClicks(
            f"{source.address}: found {found!r} at the start; allowed: a list of tasks (export as JSON)"
        )
    for number, task in enumerate(items(source, "item")):
        place = f"{source.address}, task {number}"
        try:
            yield from _objects(source, fields.mapping(task, "task", place), place)
        except BadRecord as error:
            yield error


def _objects(source: Source, task: Mapping[str, Any], place: str) -> Iterator[Item]:
    if "annotations" not in task and "completions" not in task:
        raise BadRecord(place, "annotations", None, "tasks with annotations: export as JSON, not as JSON-MIN")
    image = _image(source, fields.mapping(task.get("data"), "data", place), place)
    annotations = fields.sequence(task.get("annotations", task.get("completions")), "annotations", place)
    kept = [each for each in annotations if not fields.mapping(each, "annotations", place).get("was_cancelled")]
    source.lost["tasks that are not annotated"] += not kept
    if not kept:
        return
    truths = [each for each in kept if each.get("ground_truth")]
    source.lost["other annotations of a task than its last, or its ground truth"] += len(kept) - 1
    results = fields.sequence((truths or kept)[-1].get("result"), "result", place)
    gathered: Gathered | None = None
    regions = {}
    for number, each in enumerate(results):
        where = f"{place}, result[{number}]"
        try:
            region = fields.mapping(each, "result", where)
            regions[region.get("id")] = region
            kind = region.get("type")
            if kind not in ("keypointlabels", "rectanglelabels"):
                source.lost[f"regions of type {kind}"] += 1
                continue
            size = _size(region, where)
            gathered = gathered or Gathered(image, size)
            _add(source, gathered, region, size, where)
        except BadRecord as error:
            yield error
    if gathered is not None:
        yield from gathered.objects()


def _add(source: Source, gathered: Gathered, region: Mapping[str, Any], size: tuple[float, float], place: str) -> None:
    kind = region["type"]
    value = fields.mapping(region.get("value"), "value", place)
    labels = fields.sequence(value.get(kind, []), kind, place)
    source.lost["labels of a region beyond its first"] += max(0, len(labels) - 1)
    category = fields.text(labels[0], kind, place) if labels else None
    name = _object_name(region, place)
    x, y = (fields.number(value.get(axis), f"value.{axis}", place) for axis in ("x", "y"))
    if kind == "keypointlabels":
        click = (
            round(x / 100 * size[0], DIGITS),
            round(y / 100 * size[1], DIGITS),
            region.get("is_positive") is not False,
        )
        gathered.add(place, name, category, [click])
        return
    width, height = (fields.side(value.get(side), f"value.{side}", place) for side in ("width", "height"))
    rotation = fields.number(value.get("rotation", 0), "value.rotation", place)
    source.lost["rotations of rectangles: the upright box around them is taken"] += rotation % 360 != 0
    left, top, across, down = (
        share / 100 * side for share, side in zip((x, y, width, height), (*size, *size), strict=True)
    )
    gathered.add(place, name, category, box=_upright(left, top, across, down, rotation))


def _upright(left: float, top: float, across: float, down: float, rotation: float) -> Box:
    """The upright box around a rectangle that is turned around its top left corner, clockwise by degrees."""
    cosine, sine = (
        (1.0, 0.0) if rotation % 360 == 0 else (math.cos(math.radians(rotation)), math.sin(math.radians(rotation)))
    )
    corners = [(u * cosine - v * sine, u * sine + v * cosine) for u in (0, across) for v in (0, down)]
    xs, ys = zip(*corners, strict=True)
    edges = (left + min(xs), top + min(ys), left + max(xs), top + max(ys))
    x0, y0, x1, y1 = (round(edge, DIGITS) for edge in edges)
    return x0, y0, x1, y1


def _object_name(region: Mapping[str, Any], place: str) -> str:
    meta = region.get("meta")
    texts = meta.get("text") if isinstance(meta, Mapping) else None
    if isinstance(texts, Sequence) and texts:
        return fields.text(texts if isinstance(texts, str) else texts[0], "meta.text", place)
    return fields.identifier(region.get("parentID") or region.get("id"), "id", place)


def _size(region: Mapping[str, Any], place: str) -> tuple[float, float]:
    rotation = fields.number(region.get("image_rotation", 0), "image_rotation", place)
    if rotation % 360:
        raise BadRecord(place, "image_rotation", rotation, "0: an image that was not turned in the tool")
    width, height = (
        fields.side(region.get(f"original_{side}"), f"original_{side}", place) for side in ("width", "height")
    )
    return width, height


def _image(source: Source, data: Mapping[str, Any], place: str) -> str:
    names = [source.columns["image"]] if "image" in source.columns else [name for name in IMAGE_KEYS if name in data]
    if not names:
        raise BadRecord(place, "data", sorted(data), f"one of {', '.join(IMAGE_KEYS)}, or --map image=KEY")
    address = fields.text(data.get(names[0]), f"data.{names[0]}", place)
    parts = urlsplit(address) if address.startswith((LOCAL_FILES, UPLOADS)) else None
    if parts is None:
        return address
    if parts.path.startswith(UPLOADS):
        return unquote(parts.path.removeprefix(UPLOADS))
    found = parse_qs(parts.query).get("d")
    if not found:
        raise BadRecord(place, f"data.{names[0]}", address, f"{LOCAL_FILES}?d=PATH")
    return found[0]
