"""The refined head: its chain, its threshold, its rule for more clicks, each switched by itself."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from m2n2 import Prompt, Scene, Settings
from m2n2.backbones import load_backbone
from m2n2.backbones.reading import read_image
from m2n2.errors import InvalidAttention
from m2n2.markov_map import start_states
from m2n2.refined.central_threshold import binned_candidates, central_candidates
from m2n2.refined.centrality import centrality
from m2n2.refined.clicked import ClickMap, MappedClick, Reading
from m2n2.refined.edit import edit
from m2n2.refined.key_affinity import SpectralChain, key_chain
from m2n2.refined.smooth import Smoother
from m2n2.threshold import Candidates, candidates
from tests.m2n2 import synthetic


def keys_of(rng: np.random.Generator, grid: tuple[int, int], layers: int = 2) -> np.ndarray:
    """(layers, h, w, 6) float32: smooth over the grid with a step across it, so that like cells form two parts."""
    rows, columns = np.mgrid[: grid[0], : grid[1]]
    side = np.where(columns < grid[1] / 2, 1.0, -1.0)
    base = np.stack([side, side, rows / grid[0], columns / grid[1], 0 * rows, 0 * rows], axis=-1)
    return (base + 0.05 * rng.normal(size=(layers, *base.shape))).astype(np.float32)


def two_halves(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    image = np.zeros((32, 48, 3), np.uint8)
    image[:, 24:] = 200
    return image, keys_of(rng, (8, 12))


class TestChain:
    def test_it_is_doubly_stochastic_and_its_powers_are_those_of_the_matrix(self) -> None:
        keys_LNC = torch.from_numpy(keys_of(np.random.default_rng(0), (6, 7))).flatten(1, 2)
        settings = Settings(key_temperature=0.3)
        chain = key_chain(keys_LNC, settings)
        centred = keys_LNC - keys_LNC.mean(dim=1, keepdim=True)
        unit = centred / centred.norm(dim=2, keepdim=True)
        kernel_NN = torch.exp(((unit @ unit.transpose(1, 2)).mean(dim=0) - 1) / 0.3).double()
        for _ in range(500):
            kernel_NN = kernel_NN / kernel_NN.sum(dim=0)
            kernel_NN = kernel_NN / kernel_NN.sum(dim=1, keepdim=True)
        found_NN = (chain.vectors * chain.values**3) @ chain.vectors.T
        np.testing.assert_allclose(found_NN.numpy(), torch.matrix_power(kernel_NN, 3).numpy(), atol=2e-4)

    def test_its_maps_are_the_steps_until_a_cell_is_above_tau(self) -> None:
        keys_LNC = torch.from_numpy(keys_of(np.random.default_rng(1), (6, 7))).flatten(1, 2)
        settings = Settings(key_temperature=0.5, markov_max_steps=200)
        chain = key_chain(keys_LNC, settings)
        starts_PN = torch.from_numpy(start_states([(3, 4), (30, 9)], (24, 35), (6, 7)))
        found_PN = chain.maps(starts_PN, settings)
        matrix_NN = (chain.vectors * chain.values) @ chain.vectors.T
        for start_N, found_N in zip(starts_PN, found_PN, strict=True):
            state_N, steps_N = start_N.clone(), torch.full_like(start_N, 200.0)
            steps_N[start_N > 0.3] = 0
            for step in range(1, 9):  # the first steps are all looked at
                state_N = state_N @ matrix_NN
                crossed = (state_N / state_N.max() > 0.3) & (steps_N == 200)
                steps_N[crossed] = step
            early = steps_N < 200
            assert early.sum() > 5
            assert (found_N[early] <= steps_N[early] + 1e-3).all()
            assert (found_N[early] >= steps_N[early] - 1 - 1e-3).all()
            assert (found_N[~early] > 8 - 1e-3).all()

    def test_keys_that_are_not_finite_are_refused(self) -> None:
        keys_LNC = torch.ones(1, 4, 3)
        keys_LNC[0, 2, 1] = torch.nan
        with pytest.raises(InvalidAttention, match="not finite"):
            key_chain(keys_LNC, Settings())

    def test_keys_that_are_all_the_same_make_every_cell_equally_near(self) -> None:
        chain = key_chain(torch.ones(2, 9, 3), Settings())
        found = chain.maps(torch.eye(9)[:1], Settings())
        assert torch.isfinite(found).all()
        assert found[0, 1:].std() < 1e-3


class TestThreshold:
    def test_binned_candidates_are_the_strongest_edges_of_their_bins(self) -> None:
        rng = np.random.default_rng(0)
        map_hw = rng.random((20, 30)).astype(np.float32)
        every = candidates(map_hw, 2.0, 1024)
        binned = binned_candidates(map_hw, Settings())
        assert 0 < len(binned.lambdas) <= 24
        assert (np.diff(binned.lambdas) > 0).all()
        assert binned.edges.max() == pytest.approx(every.edges[6:540].max() / 1024, rel=1e-6)
        for value, edge in zip(binned.lambdas, binned.edges, strict=True):
            assert np.isclose(every.edges[every.lambdas == value] / 1024, edge).any()

    def test_of_two_candidates_the_one_off_the_images_border_scores_more(self) -> None:
        """Two edges of one height: a disc around the click, and the part of the image it lies in."""
        v, u = np.indices((41, 61))
        map_hw = np.full((41, 61), 1.0, np.float32)
        map_hw[:, :24] = 0.5
        map_hw[(u - 18) ** 2 + (v - 20) ** 2 <= 16] = 0.0
        settings = Settings(threshold="central")
        found = central_candidates(map_hw, binned_candidates(map_hw, settings), 18, 20, settings)
        assert found.lambdas[int(np.argmax(found.edges))] == 0.0

    def test_the_score_is_edge_centre_and_border_up_to_the_prior(self) -> None:
        map_hw = np.random.default_rng(1).random((20, 30)).astype(np.float32)
        settings = Settings(threshold="central", prior_max_share=0.5)
        binned = binned_candidates(map_hw, settings)
        found = central_candidates(map_hw, binned, 11, 7, settings)
        rim = np.ones((20, 30), bool)
        rim[1:-1, 1:-1] = False
        counts = rim * 1 + 0
        counts[[0, 0, -1, -1], [0, -1, 0, -1]] = 2  # a corner belongs to two sides
        for value, edge in zip(binned.lambdas, binned.edges, strict=True):
            inside = map_hw <= value
            if inside.sum() > 300:
                assert value not in found.lambdas
                continue
            border = (counts * inside).sum() / counts.sum()
            expected = edge * centrality(inside, 11, 7) ** 0.5 * np.exp(-6 * border)
            assert found.edges[found.lambdas == value] == pytest.approx(expected, rel=1e-5)

    def test_centrality_is_one_at_the_deepest_pixel_and_small_at_the_rim(self) -> None:
        region = np.zeros((21, 41), bool)
        region[2:19, 3:38] = True
        assert centrality(region, 20, 10) == 1.0
        assert 0 < centrality(region, 4, 10) < 0.4
        assert centrality(region, 0, 0) == 0.0


class TestMoreClicks:
    def test_a_part_that_the_click_is_at_the_rim_of_does_not_change(self) -> None:
        """The click's own map and the joint reading both say: the whole right half. The click is at its rim."""
        right_hw = np.zeros((40, 60), bool)
        right_hw[:, 30:] = True
        flooded_hw = np.where(right_hw, np.float32(0.1), np.float32(1.0))
        binned = Candidates(np.array([0.1], np.float32), np.array([1.0], np.float32), 1.0)
        earlier = MappedClick(10, 20, True, ClickMap(1 - flooded_hw, binned, binned))
        before = Reading(~right_hw, (0.9,))
        for x, changes in ((45, True), (31, False)):
            clicks = [earlier, MappedClick(x, 20, True, ClickMap(flooded_hw, binned, binned))]
            after = edit(before, clicks, Reading(np.ones_like(right_hw), (0.9, 0.1)))
            assert after.mask_hw[20, x]
            assert after.mask_hw[0, 59] == changes
            assert (after.mask_hw != before.mask_hw).sum() == (right_hw.sum() if changes else 9)

    @pytest.mark.parametrize("seed", range(5))
    def test_every_click_has_its_label_and_an_agreeing_click_changes_nothing(self, seed: int) -> None:
        image, keys = two_halves(seed)
        scene = Scene(image, keys, Settings.refined())
        first = scene.segment([Prompt([(12, 16)])])[0].mask
        y, x = np.argwhere(first)[-1]
        assert np.array_equal(scene.segment([Prompt([(12, 16), (x, y)])])[0].mask, first)
        rng = np.random.default_rng(seed)
        points = [(12, 16), *((int(rng.integers(48)), int(rng.integers(32))) for _ in range(4))]
        labels = [True, *(bool(rng.integers(2)) for _ in range(4))]
        mask = scene.segment([Prompt(points, labels)])[0].mask
        kept = dict(zip(points, labels, strict=True))
        assert all(mask[y, x] == label for (x, y), label in kept.items())

    @pytest.mark.parametrize("seed", range(5))
    def test_a_click_changes_one_part_and_nothing_elsewhere(self, seed: int) -> None:
        from scipy.ndimage import label as parts_of

        image, keys = two_halves(seed)
        scene = Scene(image, keys, dataclasses.replace(Settings.refined(), smooth=False))
        before = scene.segment([Prompt([(12, 16)])])[0].mask
        y, x = np.argwhere(~before)[len(np.argwhere(~before)) // 2]
        after = scene.segment([Prompt([(12, 16), (x, y)], [True, True])])[0].mask
        changed = after != before
        assert changed[y, x]
        assert parts_of(changed)[1] == 1
        assert (after | ~before).all()  # a click on the object takes nothing away

    def test_a_prompt_gives_the_same_mask_whatever_was_asked_before(self) -> None:
        image, keys = two_halves()
        points, labels = [(12, 16), (30, 10), (20, 28)], [True, False, True]
        fresh = Scene(image, keys, Settings.refined()).segment([Prompt(points, labels)])[0]
        scene = Scene(image, keys, Settings.refined())
        for count in (1, 2, 3):
            again = scene.segment([Prompt(points[:count], labels[:count]), Prompt([(40, 16)])])[0]
        assert np.array_equal(again.mask, fresh.mask)
        assert again.thresholds == fresh.thresholds


class TestSmoothing:
    """A grid of 8 x 12 cells on 32 x 48 pixels, whose left and right halves are two parts that never mix."""

    @pytest.fixture
    def smoother(self) -> Smoother:
        side = (torch.arange(12) < 6).float().repeat(8)
        vectors = torch.stack([side, 1 - side], dim=1) / 48**0.5
        image = np.zeros((32, 48, 3), np.uint8)
        image[:, 24:] = 255
        return Smoother(SpectralChain(torch.ones(2), vectors), (8, 12), image, Settings())

    def test_it_fills_what_is_missing_of_a_part_and_follows_the_images_border(self, smoother: Smoother) -> None:
        left_hw = np.zeros((32, 48), bool)
        left_hw[:, :24] = True
        torn_hw = left_hw.copy()
        torn_hw[4:8, 4:8] = False
        torn_hw[20:24, 22:26] ^= True
        smooth = smoother.smooth(None, Reading(torn_hw, (0.5,)), [click_at(12, 16)])
        assert np.array_equal(smooth.mask_hw, left_hw)
        assert smooth.thresholds == (0.5,)

    def test_after_the_first_click_only_what_is_near_the_change_follows(self, smoother: Smoother) -> None:
        before_hw = np.zeros((32, 48), bool)
        before_hw[:, :24] = True
        before_hw[26:30, 2:6] = False  # a hole far from the click
        before_hw[0:12, 12:24] = False
        after_hw = before_hw.copy()
        after_hw[0:11, 12:24] = True
        clicks = [click_at(6, 16), click_at(18, 6)]
        smooth_hw = smoother.smooth(Reading(before_hw, (0.5,)), Reading(after_hw, (0.5, 0.5)), clicks).mask_hw
        assert smooth_hw[11, 12:24].all()
        assert not smooth_hw[26:30, 2:6].any()

    def test_a_mask_that_would_be_overturned_stays(self, smoother: Smoother) -> None:
        small_hw = np.zeros((32, 48), bool)
        small_hw[4:8, 4:8] = True
        after = Reading(small_hw, (0.5,))
        assert smoother.smooth(None, after, [click_at(5, 5)]) is after

    def test_a_click_that_changed_nothing_smooths_nothing(self, smoother: Smoother) -> None:
        torn_hw = np.zeros((32, 48), bool)
        torn_hw[:, :22] = True
        after = Reading(torn_hw, (0.5, 0.5))
        assert smoother.smooth(Reading(torn_hw, (0.5,)), after, [click_at(12, 16), click_at(3, 3)]) is after


def click_at(x: int, y: int) -> MappedClick:
    nothing = np.empty(0, np.float32)
    return MappedClick(x, y, True, ClickMap(np.empty((0, 0), np.float32), Candidates(nothing, nothing, 1.0), None))


@pytest.mark.parametrize(
    "change",
    [{"threshold": "central"}, {"more_clicks": "edit"}, {"affinity": "keys"}, {"affinity": "keys", "smooth": True}],
)
def test_each_part_works_by_itself(change: dict[str, Any]) -> None:
    image, keys = two_halves()
    settings = dataclasses.replace(Settings(), **change)
    read = keys if settings.affinity == "keys" else synthetic.attention(np.random.default_rng(0), (8, 12))
    masks = Scene(image, read, settings).segment([Prompt([(12, 16)]), Prompt([(12, 16), (40, 16)], [True, False])])
    assert masks[0].mask[16, 12]
    assert masks[1].mask[16, 12]
    assert not masks[1].mask[16, 40]


def test_keys_find_the_half_that_is_clicked() -> None:
    image, keys = two_halves()
    left = np.zeros((32, 48), bool)
    left[:, :24] = True
    settings = dataclasses.replace(Settings.refined(), prior_max_share=0.6)
    mask = Scene(image, keys, settings).segment([Prompt([(12, 16)])])[0].mask
    assert (mask & left).sum() / (mask | left).sum() > 0.8


def test_tiny_images_and_grids() -> None:
    for size, grid in (((1, 1), (1, 1)), ((1, 9), (2, 2)), ((9, 1), (1, 3)), ((5, 5), (2, 2))):
        image = np.zeros((*size, 3), np.uint8)
        mask = Scene(image, np.ones((1, *grid, 4), np.float32), Settings.refined()).segment([Prompt([(0, 0)])])[0]
        assert mask.mask.shape == size
        assert mask.mask[0, 0]


def test_keys_of_another_shape_are_refused() -> None:
    with pytest.raises(InvalidAttention, match=r"keys must be \(layers, h, w, channels\)"):
        Scene(np.zeros((8, 8, 3), np.uint8), np.ones((4, 3), np.float32), Settings.refined())


def test_a_backbone_without_keys_says_so_and_others_are_read_as_the_settings_say() -> None:
    colour, image = load_backbone("colour", grid=4), np.zeros((8, 8, 3), np.uint8)
    assert torch.equal(read_image(colour, image, Settings()), colour.attention(image))
    with pytest.raises(ValueError, match=r"settings.affinity is 'keys', and Colour gives none; allowed: dinov2"):
        read_image(colour, image, Settings.refined())
