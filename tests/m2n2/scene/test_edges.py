"""Images, attention and clicks at the edge of what there is, and what is refused by name."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from m2n2 import Prompt, Scene, Settings
from m2n2.errors import InvalidAttention, InvalidImage, InvalidPrompt
from tests.m2n2 import synthetic
from tests.m2n2.scene.make_scene import make_scene


class TestEdges:
    """Each edge as docs/algorithm.md defines it."""

    @pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 2), (3, 40)])
    def test_tiny_images(self, size: tuple[int, int]) -> None:
        scene = make_scene(size=size)
        corner = (size[1] - 1, size[0] - 1)
        masks = scene.segment([Prompt([(0, 0)]), Prompt([corner, (0, 0)], [True, False])])
        assert masks[0].mask.shape == masks[1].mask.shape == size
        assert masks[0].mask[0, 0]
        assert all(0 <= mask.score <= 1 for mask in masks)

    def test_constant_image_and_constant_attention(self) -> None:
        attention = np.full((25, 25), 0.04, np.float32)
        scene = Scene(np.full((30, 30, 3), 77, np.uint8), attention)
        mask = scene.segment([Prompt([(15, 15)])])[0]
        assert mask.mask[15, 15]
        assert np.isfinite(mask.score)
        assert np.isfinite(scene.markov_maps([(15, 15)])).all()

    def test_a_grid_of_one_cell_makes_everything_the_object_or_the_point(self) -> None:
        scene = Scene(np.zeros((8, 8, 3), np.uint8), np.ones((1, 1), np.float32))
        assert scene.segment([Prompt([(3, 4)])])[0].mask.all()  # the map is 0 everywhere: no pixel differs from it

    def test_points_on_the_last_row_and_column(self) -> None:
        mask = make_scene().segment([Prompt([(49, 39), (49, 0), (0, 39)], [True, False, False])])[0].mask
        assert (mask[39, 49], mask[0, 49], mask[39, 0]) == (True, False, False)

    def test_coordinates_are_rounded(self) -> None:
        scene = make_scene()
        masks = scene.segment([Prompt([(10.4, 11.6)]), Prompt([(10, 12)]), Prompt([(-0.4, 39.4)]), Prompt([(0, 39)])])
        np.testing.assert_array_equal(masks[0].mask, masks[1].mask)
        np.testing.assert_array_equal(masks[2].mask, masks[3].mask)

    @pytest.mark.parametrize("point", [(50, 3), (3, 40), (-1, 3), (3, -0.6), (49.6, 3)])
    def test_a_point_outside_is_refused_by_name(self, point: tuple[float, float]) -> None:
        with pytest.raises(InvalidPrompt, match=rf"point \({point[0]}, {point[1]}\) is outside.* 50 x 40 pixels"):
            make_scene().segment([Prompt([(1, 1)]), Prompt([point])])

    def test_the_same_point_twice_changes_nothing(self) -> None:
        scene = make_scene()
        once, twice = scene.segment([Prompt([(9, 9)]), Prompt([(9, 9), (9, 9)])])
        np.testing.assert_array_equal(once.mask, twice.mask)
        assert twice.thresholds == once.thresholds * 2

    @pytest.mark.parametrize("labels", [(True, False), (False, True)])
    def test_both_classes_on_one_pixel(self, labels: tuple[bool, bool]) -> None:
        mask = make_scene().segment([Prompt([(9, 9), (9, 9)], labels)])[0]
        assert mask.mask[9, 9] == labels[1]  # the last click's label
        assert mask.mask.sum() <= 1  # no threshold lies below both
        assert mask.score == 0

    def test_only_background_clicks_give_an_empty_mask(self) -> None:
        mask = make_scene().segment([Prompt([(9, 9), (30, 30)], [False, False])])[0]
        assert not mask.mask.any()
        assert mask.score == 0

    def test_no_prompts_give_no_masks(self) -> None:
        assert make_scene().segment([]) == []

    @pytest.mark.parametrize(
        ("image", "message"),
        [
            (np.zeros((4, 4, 3), np.float32), "uint8, not float32"),
            (np.zeros((4, 4), np.uint8), r"not uint8 \(4, 4\)"),
            (np.zeros((4, 4, 4), np.uint8), "not uint8"),
            (np.zeros((0, 4, 3), np.uint8), "empty: 4 x 0"),
            ([[1]], "not list"),
        ],
    )
    def test_images_that_are_refused(self, image: np.ndarray, message: str) -> None:
        with pytest.raises(InvalidImage, match=message):
            Scene(image, np.ones((4, 4), np.float32))

    def test_the_limit_of_pixels(self) -> None:
        attention = np.ones((4, 4), np.float32)
        Scene(np.zeros((10, 10, 3), np.uint8), attention, Settings(max_pixels=100))
        with pytest.raises(InvalidImage, match="11 x 10 pixels are more than the limit of 100"):
            Scene(np.zeros((10, 11, 3), np.uint8), attention, Settings(max_pixels=100))
        assert Settings().max_pixels == 100_000_000

    @pytest.mark.parametrize("shape", [(5, 5), (4, 9), (2, 3, 3, 2), (0, 0), (16,), (2, 2, 2, 2, 1)])
    def test_attention_of_a_wrong_shape_is_refused(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(InvalidAttention, match="attention must be"):
            Scene(np.zeros((4, 4, 3), np.uint8), np.ones(shape, np.float32))

    def test_attention_that_is_not_finite_is_refused(self) -> None:
        attention = np.ones((4, 4), np.float32)
        attention[2, 1] = np.nan
        with pytest.raises(InvalidAttention, match="cell 2 to cell 1 is not finite"):
            Scene(np.zeros((4, 4, 3), np.uint8), attention)

    @pytest.mark.parametrize("scale", [1.0, 1e-20, 1e20])
    def test_rows_of_attention_are_normalised(self, scale: float) -> None:
        rng = np.random.default_rng(0)
        image, attention = synthetic.image(rng, (30, 30)), synthetic.attention(rng, (5, 5))
        expected = Scene(image, attention).segment([Prompt([(9, 9)])])[0].mask
        rows = (scale * rng.uniform(0.5, 2, (5, 5, 1, 1))).astype(np.float32)
        np.testing.assert_array_equal(Scene(image, attention * rows).segment([Prompt([(9, 9)])])[0].mask, expected)

    @pytest.mark.filterwarnings("error")
    def test_arrays_that_may_not_be_written_or_are_not_contiguous(self) -> None:
        rng = np.random.default_rng(0)
        image, attention = synthetic.image(rng, (30, 40)), synthetic.attention(rng, (5, 5))
        expected = Scene(image, attention).segment([Prompt([(9, 9)])])[0].mask
        fixed_image, fixed_attention = np.asfortranarray(image), attention.copy()
        fixed_image.flags.writeable = fixed_attention.flags.writeable = False
        found = Scene(fixed_image, fixed_attention, overwrite_attention=True).segment([Prompt([(9, 9)])])[0].mask
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(fixed_attention, attention)

    @pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
    def test_types_of_attention(self, dtype: torch.dtype) -> None:
        rng = np.random.default_rng(0)
        image, attention = synthetic.image(rng, (30, 30)), torch.from_numpy(synthetic.attention(rng, (5, 4)))
        scene = Scene(image, attention.to(dtype), overwrite_attention=True)
        expected = Scene(image, attention.to(dtype).float()).markov_maps([(9, 9)])
        np.testing.assert_allclose(scene.markov_maps([(9, 9)]), expected, atol=1e-4)


class TestWorkingSize:
    def test_shapes_and_clicks_are_those_of_the_image(self) -> None:
        scene = make_scene(size=(120, 90), chosen=Settings(working_pixels=2000))
        points = [(89, 119), (0, 0), (44, 60)]
        mask = scene.segment([Prompt(points, [True, False, True])])[0].mask
        assert mask.shape == (120, 90)
        assert [mask[y, x] for x, y in points] == [True, False, True]
        assert scene.markov_maps(points).shape == (3, 120, 90)

    def test_at_or_below_the_working_size_nothing_changes(self) -> None:
        prompt = Prompt([(9, 9)])
        expected = make_scene(chosen=Settings.reference()).segment([prompt])[0].mask
        np.testing.assert_array_equal(
            make_scene(chosen=Settings(working_pixels=40 * 50)).segment([prompt])[0].mask, expected
        )
