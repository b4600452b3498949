from __future__ import annotations

import numpy as np
import pytest

from m2n2.kernels.four_neighbours import four_neighbours
from tests.m2n2 import oracle


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 5), (5, 1), (3, 4)])
def test_they_are_the_oracles(height: int, width: int) -> None:
    found = np.empty(4, np.int64)
    for y, x in np.ndindex(height, width):
        four_neighbours(y * width + x, width, height * width, found)
        expected = {i * width + j for i, j in oracle.neighbours(y, x, height, width)}
        assert sorted(found[found >= 0]) == sorted(expected)
