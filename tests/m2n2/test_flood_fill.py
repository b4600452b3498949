from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from m2n2.flood_fill import flood_fill
from tests.m2n2 import oracle, synthetic


@given(seed=st.integers(0, 10_000), size=st.tuples(st.integers(1, 12), st.integers(1, 12)), levels=st.integers(1, 40))
@settings(max_examples=100, deadline=None)
def test_values_are_exactly_the_oracles(seed: int, size: tuple[int, int], levels: int) -> None:
    rng = np.random.default_rng(seed)
    map_HW = synthetic.flat_map(rng, size, levels)
    x, y = int(rng.integers(size[1])), int(rng.integers(size[0]))
    np.testing.assert_array_equal(flood_fill(map_HW, x, y), oracle.flooded(map_HW, x, y).astype(np.float32))


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
