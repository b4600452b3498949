"""A small picture of one object: its surroundings, its mask, the other object that it is at odds with, its clicks."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from pycocotools import mask as coco_mask

from pipeline.review.planned_clicks import Clicks

WIDTH, HEIGHT = 288, 216
MARGIN = 0.35  # of the object's size, on every side
LEAST_SHARE = 0.25  # of the image's longer side
MASK, OTHER = (255, 196, 0), (0, 160, 255)
ON_OBJECT, BESIDE = (0, 200, 83), (229, 57, 53)
QUALITIES = (80, 60, 40, 20)
MOST_BYTES = 18_000

Rle = Mapping[str, Any]
Box = tuple[int, int, int, int]


def thumbnail(pixels: np.ndarray, rle: Rle | None, other: Rle | None, clicks: Clicks) -> str:
    """The picture as a data address of at most about MOST_BYTES.

    Args:
        pixels: (H, W, 3) uint8.
        rle: the object's mask; None shows the whole image.
        other: the mask of the object that it overlaps, repeats or lost a click to.
        clicks: the object's, in pixels.
    """
    height, width = pixels.shape[:2]
    box = _around(rle, clicks, width, height)
    left, top, right, bottom = box
    scale = min(WIDTH / (right - left), HEIGHT / (bottom - top))
    size = (max(1, round(scale * (right - left))), max(1, round(scale * (bottom - top))))
    picture = Image.fromarray(np.ascontiguousarray(pixels[top:bottom, left:right])).resize(size, reducing_gap=2.0)
    for mask, colour in ((other, OTHER), (rle, MASK)):
        if mask is not None and list(mask["size"]) == [height, width]:
            _tint(picture, coco_mask.decode(mask)[top:bottom, left:right], colour)
    _mark_clicks(picture, clicks, box, scale)
    return "data:image/jpeg;base64," + base64.b64encode(_jpeg(picture)).decode()


def _around(rle: Rle | None, clicks: Clicks, width: int, height: int) -> Box:
    """The object with its clicks and a margin, in the picture's proportions where the image allows it."""
    if rle is None:
        return 0, 0, width, height
    x, y, box_width, box_height = coco_mask.toBbox(rle)
    xs = [x, x + box_width, *(min(max(click["x"], 0), width) for click in clicks)]
    ys = [y, y + box_height, *(min(max(click["y"], 0), height) for click in clicks)]
    wanted = max(max(xs) - min(xs), (max(ys) - min(ys)) * WIDTH / HEIGHT) * (1 + 2 * MARGIN)
    wanted = max(wanted, LEAST_SHARE * max(width, height))
    left, right = _span((min(xs) + max(xs)) / 2, wanted, width)
    top, bottom = _span((min(ys) + max(ys)) / 2, wanted * HEIGHT / WIDTH, height)
    return left, top, right, bottom


def _span(middle: float, wanted: float, side: int) -> tuple[int, int]:
    length = min(side, max(1, round(wanted)))
    start = min(max(0, round(middle - length / 2)), side - length)
    return start, start + length


def _tint(picture: Image.Image, mask: np.ndarray, colour: tuple[int, int, int]) -> None:
    small = Image.fromarray(mask * np.uint8(255)).resize(picture.size, Image.Resampling.BOX)
    picture.paste(colour, mask=small.point(lambda value: value * 2 // 5))
    solid = small.point(lambda value: 255 if value > 127 else 0)
    grown = solid.filter(ImageFilter.MaxFilter(3))
    picture.paste(colour, mask=Image.fromarray(np.asarray(grown) - np.asarray(solid)))


def _mark_clicks(picture: Image.Image, clicks: Clicks, box: Box, scale: float) -> None:
    """A disc with a cross on the object, one with a stroke beside it, so that it needs no colours to tell."""
    draw = ImageDraw.Draw(picture)
    for click in clicks:
        x, y = scale * (click["x"] - box[0] + 0.5), scale * (click["y"] - box[1] + 0.5)
        draw.circle((x, y), 7, fill=ON_OBJECT if click["label"] else BESIDE, outline="white", width=1)
        draw.line([(x - 3, y), (x + 3, y)], fill="white", width=2)
        if click["label"]:
            draw.line([(x, y - 3), (x, y + 3)], fill="white", width=2)


def _jpeg(picture: Image.Image) -> bytes:
    data = b""
    for quality in QUALITIES:
        sink = io.BytesIO()
        picture.save(sink, "JPEG", quality=quality, optimize=True)
        data = sink.getvalue()
        if len(data) <= MOST_BYTES:
            break
    return data
