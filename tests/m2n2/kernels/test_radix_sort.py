from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m2n2.kernels.radix_sort import lowest_order, stable_order


@given(st.lists(st.floats(0, float(np.float32(3e38)), width=32), max_size=200))
@settings(max_examples=100, deadline=None)
def test_it_is_a_stable_sort(values: list[float]) -> None:
    array = np.abs(np.array(values, np.float32))
    np.testing.assert_array_equal(stable_order(array), np.argsort(array, kind="stable"))


def test_ties_keep_their_order() -> None:
    array = np.random.default_rng(0).integers(0, 5, 5000).astype(np.float32)
    np.testing.assert_array_equal(stable_order(array), np.argsort(array, kind="stable"))


@pytest.mark.parametrize("count", [0, 1, 7, 400, 999, 1000, 1500])
@pytest.mark.parametrize("levels", [1, 3, 50, 1 << 20])
def test_the_lowest_begin_as_all_in_order_do(count: int, levels: int) -> None:
    array = np.random.default_rng(count).integers(0, levels, 1000).astype(np.float32) / levels
    found = lowest_order(array, count)
    assert min(count, 1000) <= len(found) <= 1000
    np.testing.assert_array_equal(found, stable_order(array)[: len(found)])
    if levels > 1000 and count < 500:
        assert len(found) < 600, "what is not asked for is not sorted"
