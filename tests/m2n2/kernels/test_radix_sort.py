from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from m2n2.kernels.radix_sort import stable_order


@given(st.lists(st.floats(0, float(np.float32(3e38)), width=32), max_size=200))
@settings(max_examples=100, deadline=None)
def test_it_is_a_stable_sort(values: list[float]) -> None:
    array = np.abs(np.array(values, np.float32))
    np.testing.assert_array_equal(stable_order(array), np.argsort(array, kind="stable"))


def test_ties_keep_their_order() -> None:
    array = np.random.default_rng(0).integers(0, 5, 5000).astype(np.float32)
    np.testing.assert_array_equal(stable_order(array), np.argsort(array, kind="stable"))
