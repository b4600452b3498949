from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m2n2.backbones.area_resize import area_resize

SIDES = st.integers(1, 40)
# (4, 5, 3); what OpenCV 4's INTER_AREA makes of its first channel stands in OPENCV.
PICTURE = (np.arange(60).reshape(4, 5, 3) * 37 % 256).astype(np.uint8)
OPENCV = {
    (3, 4): [[33, 141, 120, 177], [87, 118, 97, 128], [140, 171, 151, 79]],
    (3, 9): [
        [11, 33, 122, 141, 169, 120, 88, 176, 199],
        [65, 87, 176, 118, 31, 97, 142, 128, 125],
        [118, 140, 229, 171, 84, 151, 195, 79, 50],
    ],
    (7, 9): [
        [0, 22, 111, 155, 222, 135, 77, 166, 188],
        [11, 33, 122, 141, 169, 120, 88, 176, 199],
        [43, 65, 154, 96, 9, 76, 120, 209, 231],
        [65, 87, 176, 118, 31, 97, 142, 128, 125],
        [86, 108, 197, 139, 52, 119, 163, 47, 18],
        [118, 140, 229, 171, 84, 151, 195, 79, 50],
        [129, 151, 240, 182, 95, 162, 206, 90, 61],
    ],
}


@pytest.mark.parametrize("size", OPENCV)
def test_gives_the_bytes_that_opencv_gives(size):
    assert area_resize(PICTURE, size)[..., 0].tolist() == OPENCV[size]


@given(SIDES, SIDES, SIDES, SIDES)
def test_a_flat_picture_stays_flat(height, width, new_height, new_width):
    flat = np.full((height, width, 3), 137, dtype=np.uint8)
    resized = area_resize(flat, (new_height, new_width))
    assert resized.shape == (new_height, new_width, 3)
    assert abs(resized.astype(int) - 137).max() <= 1  # OpenCV's own rounding loses up to one level when it blends


def test_whole_factors_repeat_pixels_or_average_blocks():
    picture = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    np.testing.assert_array_equal(area_resize(picture, (18, 16)), picture.repeat(3, axis=0).repeat(2, axis=1))
    blocks = picture.reshape(2, 3, 4, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(area_resize(picture, (2, 4)), blocks, atol=0.51)


def test_a_huge_photo_keeps_its_mean():
    photo = np.random.default_rng(0).integers(0, 256, (1500, 2000, 3), dtype=np.uint8)
    resized = area_resize(photo, (64, 48))
    np.testing.assert_allclose(resized.mean(axis=(0, 1)), photo.mean(axis=(0, 1)), atol=0.05)
