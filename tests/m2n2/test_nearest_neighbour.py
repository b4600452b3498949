from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from m2n2.nearest_neighbour import keep_apart, mark_points, object_distance, stability
from tests.m2n2 import oracle, synthetic


@given(
    seed=st.integers(0, 10_000),
    size=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    points=st.integers(1, 5),
    levels=st.integers(1, 6),
)
@settings(max_examples=100, deadline=None)
def test_masks_are_the_oracles_ties_included(seed: int, size: tuple[int, int], points: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    maps = [synthetic.flat_map(rng, size, levels) for _ in range(points)]
    thresholds = rng.choice([0.0, 0.25, 0.5, 1.0], points).tolist()
    labels = rng.choice([True, False], points).tolist()
    pixels = [(int(rng.integers(size[1])), int(rng.integers(size[0]))) for _ in range(points)]
    mask_HW = object_distance(maps, thresholds, labels) <= 1
    mark_points(mask_HW, pixels, labels)
    float32_maps = [(map_HW / max(np.float32(t), np.float32(1e-7))) for map_HW, t in zip(maps, thresholds, strict=True)]
    np.testing.assert_array_equal(mask_HW, oracle.mask(float32_maps, [1.0] * points, pixels, labels))


def test_the_last_of_two_clicks_on_a_pixel_labels_it() -> None:
    mask_HW = np.zeros((2, 2), bool)
    mark_points(mask_HW, [(1, 0), (1, 0)], [False, True])
    assert mask_HW.tolist() == [[False, True], [False, False]]


def test_background_is_infinitely_far() -> None:
    distance = object_distance([np.zeros((2, 2), np.float32)], [0.5], [False])
    assert np.isinf(distance).all()


def test_stability_is_the_ratio_of_the_nested_masks() -> None:
    distance = np.array([[0.1, 0.6, 0.9, 1.2, 2.0, np.inf]], np.float32)
    assert stability(distance) == 2 / 4
    assert stability(np.full((2, 2), np.inf, np.float32)) == 0


def kept_apart(masks: list[list[int]], foreground: list[list[tuple[int, int]]]) -> list[list[int]]:
    """Rows of one pixel's height, packed for the call as the scene packs them."""
    packed = [np.packbits(np.array([mask], np.bool_), axis=1) for mask in masks]
    keep_apart(packed, foreground)
    return [np.unpackbits(each, axis=1, count=len(masks[0]))[0].tolist() for each in packed]


def test_the_smallest_mask_keeps_its_pixels() -> None:
    assert kept_apart([[1, 1, 1, 0], [0, 1, 0, 0]], [[(0, 0)], [(1, 0)]]) == [[1, 0, 1, 0], [0, 1, 0, 0]]


def test_pixels_are_told_apart_in_every_byte() -> None:
    large, small = [1] * 20, [0] * 9 + [1] * 2 + [0] * 9
    assert kept_apart([large, small], [[(19, 0)], [(9, 0)]]) == [[1] * 9 + [0] * 2 + [1] * 9, small]
    assert kept_apart([large, small], [[(10, 0)], [(9, 0)]])[0] == [1] * 9 + [0, 1] + [1] * 9, "its own point"


def test_points_stay_with_their_object_the_first_of_several() -> None:
    assert kept_apart([[1, 1, 1], [1, 1, 0]], [[(0, 0)], [(0, 0), (1, 0)]]) == [[1, 0, 1], [0, 1, 0]]
