from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from m2n2.threshold import best_threshold, candidates
from tests.m2n2 import oracle, synthetic

PRIOR, LEVELS = 0.4, 1024


def found(flooded_HW: np.ndarray, own: list[float], other: list[float]) -> tuple[float, float]:
    best = best_threshold(
        candidates(flooded_HW, PRIOR, LEVELS), np.sort(np.array(own, np.float32)), np.array(other, np.float32)
    )
    return best.value, best.score


@given(
    seed=st.integers(0, 10_000),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    levels=st.sampled_from([1, 2, 3, 5, 9, 17]),  # Sobel sums of these values are exact in float32
    own=st.integers(0, 2),
    other=st.integers(0, 2),
)
@example(seed=1, size=(9, 9), levels=9, own=0, other=0)  # an edge on the border of two levels
@settings(max_examples=150, deadline=None)
def test_the_same_candidate_wins_as_in_the_oracle(
    seed: int, size: tuple[int, int], levels: int, own: int, other: int
) -> None:
    rng = np.random.default_rng(seed)
    map_HW = synthetic.flat_map(rng, size, levels)
    map_HW[rng.integers(size[0]), rng.integers(size[1])] = 0
    own_values = [0.0, *rng.choice(map_HW.ravel(), own).tolist()]
    other_values = rng.choice(map_HW.ravel(), other).tolist()
    expected = oracle.threshold(map_HW, own_values, other_values, PRIOR, LEVELS)
    value, score = found(map_HW, own_values, other_values)
    assert value == pytest.approx(expected[0])
    assert score == pytest.approx(expected[1], rel=1e-6)


@pytest.mark.parametrize("pixels", [1, 2, 3, 4, 5, 6, 7, 11, 12, 101])
def test_the_prior_passes_ranks_below_its_share(pixels: int) -> None:
    map_HW = np.linspace(0, 1, pixels, dtype=np.float32)[None]
    total = pixels - 1
    expected = sum((rank / (total - 1) if total > 1 else 0) < PRIOR for rank in range(total))
    assert len(candidates(map_HW, PRIOR, LEVELS).lambdas) == expected


def test_an_object_on_a_plain_ground_is_cut_at_its_edge() -> None:
    map_HW = np.full((20, 20), 0.9, np.float32)
    map_HW[0, 0] = 1.0
    map_HW[5:12, 6:11] = 0.1
    map_HW[8, 8] = 0.0
    value, score = found(map_HW, [0.0], [])
    assert value == np.float32(0.1)
    assert score > LEVELS / 2


def test_a_click_of_the_other_class_bounds_the_threshold() -> None:
    map_HW = np.linspace(0, 1, 400, dtype=np.float32).reshape(20, 20) ** 3
    assert found(map_HW, [0.0], [float(map_HW[2, 3])])[0] < map_HW[2, 3]


def test_a_click_of_the_other_class_on_the_point_leaves_no_score() -> None:
    map_HW = np.linspace(0, 1, 400, dtype=np.float32).reshape(20, 20)
    assert found(map_HW, [0.0], [0.0]) == (0.0, 0.0)


def test_a_constant_map_has_no_threshold() -> None:
    assert found(np.zeros((5, 5), np.float32), [0.0], []) == (0.0, 0.0)


def test_one_pixel_has_no_candidate() -> None:
    assert best_threshold(
        candidates(np.zeros((1, 1), np.float32), PRIOR, LEVELS), np.zeros(1, np.float32), np.zeros(0, np.float32)
    ) == (0.0, 0.0, -1)
