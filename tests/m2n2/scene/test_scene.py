"""The whole algorithm through its public face: the oracle, reuse, objects together, and threads."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from m2n2 import Prompt, Scene, Settings, joint_reading
from m2n2.errors import InvalidImage, InvalidPrompt, OperatorReleased
from m2n2.full_size import working_image
from m2n2.refined.clicked import MappedClick, Reading
from m2n2.scene import affinity, click_maps, object_reading, two_sizes
from m2n2.scene import scene as module
from tests.m2n2 import oracle, synthetic
from tests.m2n2.scene.make_scene import make_scene


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
        monkeypatch.setattr(two_sizes, "BATCH_BYTES", 4 * 40 * 50 * 3)  # three maps at once
        monkeypatch.setattr(click_maps, "CLICK_CACHE_BYTES", 1)  # forgets at once
        for mask, other in zip(make_scene().segment(prompts), expected, strict=True):
            np.testing.assert_array_equal(mask.mask, other.mask)

    def test_a_further_click_runs_the_chain_for_itself_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        scene = make_scene()
        batches: list[int] = []
        monkeypatch.setattr(
            affinity,
            "markov_maps",
            lambda operator, starts, chosen, original=affinity.markov_maps: (
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
    monkeypatch.setattr(two_sizes, "BATCH_BYTES", 8 * 40 * 50)  # maps of two points
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


def test_clicks_that_are_edited_one_after_the_other_are_read_together_no_more_often_than_they_have_to_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = []

    def counted(mapped: Sequence[MappedClick], *others: Any) -> tuple[Reading, np.ndarray]:
        read.append(len(mapped))
        return joint_reading.read_jointly(mapped, *others)

    monkeypatch.setattr(object_reading, "read_jointly", counted)
    make_scene(chosen=Settings(more_clicks="edit")).segment([Prompt([(3, 4), (30, 20)])])
    assert sorted(read) == [1, 2, 2], "for distances together, and each once"
