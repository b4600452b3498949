from __future__ import annotations

import numpy as np
import pytest

from m2n2.kernels import thin_product as module
from m2n2.kernels.thin_product import thin_product


@pytest.mark.parametrize("rows", [1, 2, 3, 8])
@pytest.mark.parametrize(("depth", "columns"), [(1, 1), (7, 5), (8, 64), (30, 33), (17, 129)])
def test_it_is_the_product(rows: int, depth: int, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_TILE_COLUMNS", 32)  # several tiles
    rng = np.random.default_rng(0)
    thin, large = rng.random((rows, depth), dtype=np.float32), rng.random((depth, columns), dtype=np.float32)
    np.testing.assert_allclose(thin_product(thin, large), thin.astype(float) @ large.astype(float), rtol=1e-6)


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_the_result_does_not_depend_on_threads_or_other_rows(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    thin, large = rng.random((5, 203), dtype=np.float32), rng.random((203, 333), dtype=np.float32)
    expected = thin_product(thin, large)
    monkeypatch.setattr(module, "threads", lambda: threads)
    np.testing.assert_array_equal(thin_product(thin, large), expected)
    for row in range(5):
        np.testing.assert_array_equal(thin_product(thin[row : row + 1], large)[0], expected[row])
