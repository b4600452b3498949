from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m2n2.flood_fill import MOST_SWEEPS, flood_fill
from m2n2.kernels.ranked_flood import ranked_flood
from tests.m2n2 import oracle, synthetic


@given(seed=st.integers(0, 10_000), size=st.tuples(st.integers(1, 12), st.integers(1, 12)), levels=st.integers(1, 40))
@settings(max_examples=100, deadline=None)
def test_values_are_exactly_the_oracles(seed: int, size: tuple[int, int], levels: int) -> None:
    rng = np.random.default_rng(seed)
    map_HW = synthetic.flat_map(rng, size, levels)
    x, y = int(rng.integers(size[1])), int(rng.integers(size[0]))
    np.testing.assert_array_equal(flood_fill(map_HW, x, y), oracle.flooded(map_HW, x, y).astype(np.float32))


@given(seed=st.integers(0, 10_000), size=st.tuples(st.integers(1, 12), st.integers(1, 12)), levels=st.integers(1, 40))
@settings(max_examples=50, deadline=None)
def test_the_fill_by_ranks_means_the_same(seed: int, size: tuple[int, int], levels: int) -> None:
    cost_HW = synthetic.flat_map(np.random.default_rng(seed), size, levels)
    cost_HW[size[0] // 2, size[1] // 2] = 0
    expected = oracle.flooded(cost_HW, size[1] // 2, size[0] // 2)
    filled = ranked_flood(cost_HW, size[1] // 2, size[0] // 2)
    np.testing.assert_array_equal(filled / max(filled.max(), np.float32(1e-30)), expected.astype(np.float32))


@pytest.mark.parametrize("walls", [3, MOST_SWEEPS // 2, 3 * MOST_SWEEPS])
def test_a_path_with_any_number_of_turns_is_followed_to_its_end(walls: int) -> None:
    """Corridors up and down, higher from one to the next: each turn takes a sweep, and after many ranks take over."""
    map_HW = np.repeat(np.arange(2 * walls + 1, dtype=np.float32)[None] / (4 * walls), 9, axis=0)
    map_HW[:, 1::2] = 1.0
    for wall in range(walls):
        map_HW[0 if wall % 2 else -1, 2 * wall + 1] = map_HW[0, 2 * wall]
    np.testing.assert_array_equal(flood_fill(map_HW, 0, 0), oracle.flooded(map_HW, 0, 0).astype(np.float32))


def test_a_ridge_is_paid_for_once() -> None:
    map_HW = np.array([[0.0, 0.8, 0.1, 0.2, 1.0]], np.float32)
    np.testing.assert_allclose(flood_fill(map_HW, 0, 0), [[0.0, 0.8, 0.8, 0.8, 1.0]])


def test_the_input_is_left_alone() -> None:
    map_HW = synthetic.flat_map(np.random.default_rng(0), (5, 6), 9)
    before = map_HW.copy()
    flood_fill(map_HW, 2, 3)
    np.testing.assert_array_equal(map_HW, before)


def test_a_constant_map_is_zero() -> None:
    assert not flood_fill(np.full((4, 5), 0.7, np.float32), 1, 2).any()
