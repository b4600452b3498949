"""What the small pictures show: the mask, the other mask, the clicks, and never too many bytes."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from pipeline.review.report.thumbnails import HEIGHT, MOST_BYTES, ON_OBJECT, WIDTH, thumbnail

GREY = np.full((300, 400, 3), 128, np.uint8)


def rle(left: int, top: int, right: int, bottom: int, height: int = 300, width: int = 400) -> Any:
    mask = np.zeros((height, width), np.uint8)
    mask[top:bottom, left:right] = 1
    return coco_mask.encode(np.asfortranarray(mask))


def opened(address: str) -> np.ndarray:
    kind, _, data = address.partition(",")
    assert kind == "data:image/jpeg;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))).astype(int)


def test_it_is_cut_out_around_the_object_and_tints_its_mask() -> None:
    picture = opened(thumbnail(GREY, rle(40, 40, 100, 80), None, ()))
    assert np.allclose(picture.shape, (HEIGHT, WIDTH, 3), atol=1)
    yellow = (picture[..., 0] - picture[..., 2]) > 40
    assert 0.2 < yellow.mean() < 0.6
    assert opened(thumbnail(GREY, None, None, ())).std() < 1


def test_the_other_mask_is_blue_and_a_click_green() -> None:
    picture = opened(thumbnail(GREY, rle(40, 40, 100, 80), rle(110, 40, 130, 80), [{"x": 70, "y": 60, "label": True}]))
    assert ((picture[..., 2] - picture[..., 0]) > 40).mean() > 0.03
    assert (np.abs(picture - ON_OBJECT).max(axis=-1) < 30).sum() > 40


def test_a_mask_of_another_size_than_the_image_is_left_out() -> None:
    assert opened(thumbnail(GREY, rle(10, 10, 60, 60, 100, 100), None, ())).std() < 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1), (2, 900)])
def test_any_shape_of_image(shape: tuple[int, int]) -> None:
    pixels = np.zeros((*shape, 3), np.uint8)
    picture = opened(thumbnail(pixels, rle(0, 0, 1, 1, *shape), None, [{"x": 0, "y": 0, "label": False}]))
    assert picture.shape[0] <= HEIGHT
    assert picture.shape[1] <= WIDTH


def test_noise_is_squeezed_until_it_is_small_enough() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (216, 288, 3), np.uint8)
    address = thumbnail(noise, None, None, ())
    assert len(base64.b64decode(address.partition(",")[2])) <= MOST_BYTES
