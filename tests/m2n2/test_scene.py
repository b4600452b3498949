"""The whole algorithm through its public face: the oracle, the edges, reuse, and threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from m2n2 import Prompt, Scene, Settings, joint_reading
from m2n2 import scene as module
from m2n2.errors import InvalidAttention, InvalidImage, InvalidPrompt, OperatorReleased
from m2n2.full_size import working_image
from tests.m2n2 import oracle, synthetic


def make_scene(
    seed: int = 0, size: tuple[int, int] = (40, 50), grid: tuple[int, int] = (6, 7), chosen: Settings | None = None
) -> Scene:
    rng = np.random.default_rng(seed)
    return Scene(synthetic.image(rng, size), synthetic.attention(rng, grid), chosen)


@given(seed=st.integers(0, 1000), clicks=st.integers(1, 4))
@settings(max_examples=12, deadline=None)
def test_masks_are_the_oracles(seed: int, clicks: int) -> None:
    rng = np.random.default_rng(seed)
    image, attention = synthetic.image(rng, (17, 19)), synthetic.attention(rng, (4, 5))
    points = [(int(rng.integers(19)), int(rng.integers(17))) for _ in range(clicks)]
    labels = [True, *rng.choice([True, False], clicks - 1).tolist()]
    found = Scene(image, attention, Settings.reference()).segment([Prompt(points, labels)])[0].mask
    # float32 and float64 may disagree on which of two nearly equal candidates is best, hence on few whole masks
    assert np.mean(found == oracle.segment(image, attention, points, labels)) > 0.95


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


class TestReuse:
    def test_an_object_gets_the_same_mask_alone_and_among_others(self) -> None:
        prompts = [Prompt([(9, 9)]), Prompt([(30, 20), (5, 5)], [True, False]), Prompt([(45, 35)])]
        together = make_scene().segment(prompts)
        for prompt, mask in zip(prompts, together, strict=True):
            alone = make_scene().segment([prompt])[0]
            np.testing.assert_array_equal(mask.mask, alone.mask)
            assert mask.thresholds == alone.thresholds
            assert mask.evidence is not None
            assert alone.evidence is not None
            assert replace(mask.evidence, rivals=0.0) == alone.evidence  # only the score knows of the company

    def test_groups_and_batches_do_not_change_masks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        prompts = [Prompt([(x, y), (y, x)]) for x in (3, 20, 33) for y in (2, 17, 37)]
        expected = make_scene().segment(prompts)
        monkeypatch.setattr(module, "BATCH_BYTES", 4 * 40 * 50 * 3)  # three maps at once
        monkeypatch.setattr(module, "CLICK_CACHE_BYTES", 1)  # forgets at once
        for mask, other in zip(make_scene().segment(prompts), expected, strict=True):
            np.testing.assert_array_equal(mask.mask, other.mask)

    def test_a_further_click_runs_the_chain_for_itself_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        scene = make_scene()
        batches: list[int] = []
        monkeypatch.setattr(
            module,
            "markov_maps",
            lambda operator, starts, chosen, original=module.markov_maps: (
                batches.append(len(starts)),
                original(operator, starts, chosen),
            )[1],
        )
        floods: list[tuple[int, int]] = []
        monkeypatch.setattr(
            joint_reading,
            "flood_fill",
            lambda map_hw, x, y, original=joint_reading.flood_fill: (floods.append((x, y)), original(map_hw, x, y))[1],
        )
        scene.segment([Prompt([(9, 9), (20, 20)], [True, False])])
        scene.segment([Prompt([(9, 9), (20, 20), (30, 10)], [True, False, True])])
        assert batches == [2, 1]
        assert sorted(floods) == [(9, 9), (20, 20), (30, 10)]

    def test_after_release_only_advanced_points_can_be_segmented(self) -> None:
        expected = make_scene().segment([Prompt([(9, 9)])])[0].mask
        scene = make_scene()
        scene.advance([(9, 9), (3, 3)])
        scene.release_operator()
        np.testing.assert_array_equal(scene.segment([Prompt([(9, 9)])])[0].mask, expected)
        with pytest.raises(OperatorReleased, match=r"point \(4, 4\) was not advanced"):
            scene.segment([Prompt([(3, 3)]), Prompt([(4, 4)])])

    def test_release_frees_the_matrix(self) -> None:
        rng = np.random.default_rng(0)
        attention = torch.from_numpy(synthetic.attention(rng, (5, 5)))
        scene = Scene(synthetic.image(rng, (20, 20)), attention, overwrite_attention=True)
        held = attention.untyped_storage()._weak_ref()
        del attention
        scene.release_operator()
        assert torch.UntypedStorage._expired(held)
        torch.UntypedStorage._free_weak_ref(held)


class TestObjects:
    def test_exclusive_objects_share_no_pixel_and_keep_their_clicks(self) -> None:
        prompts = [Prompt([(9, 9)]), Prompt([(12, 9)]), Prompt([(30, 20), (9, 9)])]
        free = make_scene().segment(prompts)
        kept = make_scene(chosen=Settings(objects="exclusive")).segment(prompts)
        assert (np.sum([mask.mask for mask in free], axis=0) > 1).any()  # there is something to keep apart
        assert (np.sum([mask.mask for mask in kept], axis=0) <= 1).all()
        assert kept[0].mask[9, 9]
        assert kept[1].mask[9, 12]
        assert kept[2].mask[20, 30]
        union = np.any([mask.mask for mask in free], axis=0)
        np.testing.assert_array_equal(np.any([mask.mask for mask in kept], axis=0), union)

    def test_exclusive_objects_are_kept_apart_at_full_size_too(self) -> None:
        chosen = Settings(objects="exclusive", working_pixels=500)
        kept = make_scene(size=(80, 100), chosen=chosen).segment([Prompt([(20, 20)]), Prompt([(24, 20)])])
        assert not (kept[0].mask & kept[1].mask).any()
        assert kept[0].mask[20, 20]
        assert kept[1].mask[20, 24]


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


def test_threads_give_what_one_thread_gives() -> None:
    prompts = [Prompt([(x, y)]) for x in range(2, 50, 6) for y in range(2, 40, 9)]
    expected = make_scene().segment(prompts)
    scene = make_scene()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda prompt: scene.segment([prompt])[0], prompts))
        several = list(pool.map(lambda _: make_scene().segment(prompts), range(4)))
    for masks in (found, *several):
        for mask, other in zip(masks, expected, strict=True):
            np.testing.assert_array_equal(mask.mask, other.mask)
            assert mask.thresholds == other.thresholds


def test_a_scene_can_be_made_beside_another_ones_segmenting() -> None:
    first = make_scene(1)
    prompts = [Prompt([(x, 20)]) for x in range(0, 50, 3)]
    first.advance([prompt.points[0] for prompt in prompts])
    first.release_operator()
    expected = make_scene(1).segment(prompts)
    with ThreadPoolExecutor(2) as pool:
        masks = pool.submit(first.segment, prompts)
        others = [make_scene(seed).markov_maps([(3, 3)]) for seed in range(2, 8)]
    for mask, other in zip(masks.result(), expected, strict=True):
        np.testing.assert_array_equal(mask.mask, other.mask)
    np.testing.assert_array_equal(others[0], make_scene(2).markov_maps([(3, 3)]))


@pytest.mark.parametrize(("objects", "ahead"), [("independent", 2), ("exclusive", 8)])
def test_masks_at_a_time_are_those_of_one_call_and_few_are_made_ahead(
    monkeypatch: pytest.MonkeyPatch, objects: str, ahead: int
) -> None:
    monkeypatch.setattr(module, "BATCH_BYTES", 8 * 40 * 50)  # maps of two points
    scene, made, prompts = make_scene(), [], [Prompt([(at, at)]) for at in range(8)]
    scene.settings = replace(scene.settings, objects=objects)
    together = scene.segment(prompts)
    mark = module.mark_points
    monkeypatch.setattr(module, "mark_points", lambda *about: made.append(mark(*about)))
    masks = scene.masks(prompts)
    first = next(masks)
    assert len(made) == ahead
    for one, other in zip([first, *masks], together, strict=True):
        np.testing.assert_array_equal(one.mask, other.mask)


class TestReduced:
    """A smaller copy of the image, on the same operator."""

    def test_it_is_the_scene_of_the_smaller_image(self) -> None:
        rng = np.random.default_rng(3)
        image, attention = synthetic.image(rng, (40, 50)), synthetic.attention(rng, (6, 7))
        small = Scene(image, attention).reduced(500)
        width, height = small.size
        assert (width, height) == (25, 20)
        mask = small.segment([Prompt([(12, 10)])])[0]
        alone = Scene(working_image(image, 500), attention).segment([Prompt([(12, 10)])])[0]
        assert mask.mask.shape == (20, 25)
        assert np.array_equal(mask.mask, alone.mask)

    def test_what_is_clicked_on_one_of_them_is_not_on_the_other(self) -> None:
        scene = make_scene()
        small = scene.reduced(500)
        before = small.size_bytes
        scene.segment([Prompt([(10, 10)])])
        assert small.size_bytes == before
        assert scene.size_bytes > before
        with pytest.raises(InvalidPrompt, match="25 x 20"):
            small.segment([Prompt([(40, 30)])])


def test_settings_that_share_the_operator_give_the_masks_of_a_scene_of_their_own() -> None:
    rng = np.random.default_rng(5)
    image, attention = synthetic.image(rng, (40, 50)), synthetic.attention(rng, (6, 7))
    scene, prompts = Scene(image, attention, Settings()), [Prompt([(10, 12), (33, 30)], [True, False])]
    scene.segment(prompts)
    for other in (Settings(markov_threshold=0.6), Settings(flood_fill=False), Settings(working_pixels=900)):
        (shared,), (alone,) = (
            scene.with_settings(other).segment(prompts),
            Scene(image, attention, other).segment(prompts),
        )
        assert shared.thresholds == alone.thresholds
        assert np.array_equal(shared.mask, alone.mask)
    with pytest.raises(ValueError, match="another operator"):
        scene.with_settings(Settings(temperature=0.5))
    with pytest.raises(InvalidImage, match="limit of 1000"):
        scene.with_settings(Settings(max_pixels=1000))
