from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from m2n2 import Settings
from m2n2.full_size import carry_mask, working_image, working_pixels
from tests.m2n2 import synthetic


def test_small_images_are_not_touched() -> None:
    image = synthetic.image(np.random.default_rng(0), (20, 30))
    assert working_image(image, 600) is image


@pytest.mark.parametrize("grid", [(1, 1), (64, 64), (40, 96)])
def test_the_working_size_follows_the_grid_unless_it_is_said(grid: tuple[int, int]) -> None:
    assert working_pixels(Settings(), grid) == 64 * grid[0] * grid[1]
    assert working_pixels(Settings(working_pixels=5000), grid) == 5000
    assert working_pixels(Settings.reference(), grid) == Settings().max_pixels


def test_the_working_image_keeps_shape_and_mean() -> None:
    image = synthetic.image(np.random.default_rng(0), (300, 200))
    small = working_image(image, 6000)
    assert small.dtype == np.uint8
    assert abs(small.shape[0] * small.shape[1] - 6000) < 200
    assert abs(small.shape[0] / small.shape[1] - 1.5) < 0.03
    np.testing.assert_allclose(small.mean(axis=(0, 1)), image.mean(axis=(0, 1)), atol=1)


def test_extreme_shapes_keep_a_pixel() -> None:
    assert working_image(np.zeros((1, 5000, 3), np.uint8), 10).shape[0] == 1


def disc(size: int) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size] / size - 0.5
    return rows**2 + 1.7 * columns**2 < 0.12


def test_the_full_size_edge_is_found_again_from_the_colours() -> None:
    mask_HW = disc(240)
    image = np.where(mask_HW[..., None], (200, 120, 40), (40, 120, 200)).astype(np.uint8)
    small = working_image(image, 60 * 60)
    small_mask = np.asarray(Image.fromarray(mask_HW).resize((60, 60), Image.Resampling.NEAREST))
    nearest = np.asarray(Image.fromarray(small_mask).resize((240, 240), Image.Resampling.NEAREST))
    carried = carry_mask(small_mask, small, image)
    assert (carried != mask_HW).sum() < 0.5 * (nearest != mask_HW).sum()


def test_far_from_the_boundary_the_mask_is_the_working_one() -> None:
    image = synthetic.image(np.random.default_rng(2), (120, 90))
    small = working_image(image, 40 * 30)
    carried = carry_mask(disc(40)[:, :30], small, image)
    small_at_full_size = np.repeat(np.repeat(disc(40)[:, :30], 3, axis=0), 3, axis=1)
    wrong = carried != small_at_full_size
    rows, columns = np.nonzero(wrong)
    boundary = np.abs(np.diff(small_at_full_size.astype(int), axis=1, prepend=0)) > 0
    boundary |= np.abs(np.diff(small_at_full_size.astype(int), axis=0, prepend=0)) > 0
    near_rows, near_columns = np.nonzero(boundary)
    for y, x in zip(rows, columns, strict=True):
        assert np.min((near_rows - y) ** 2 + (near_columns - x) ** 2) <= (3 * 3) ** 2 * 2


def test_uniform_masks_stay_uniform() -> None:
    image = synthetic.image(np.random.default_rng(1), (50, 70))
    small = working_image(image, 500)
    for value in (False, True):
        assert (carry_mask(np.full(small.shape[:2], value), small, image) == value).all()
