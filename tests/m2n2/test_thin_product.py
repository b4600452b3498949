from __future__ import annotations

import numpy as np
import pytest

from m2n2 import thin_product as module
from m2n2.thin_product import thin_product


@pytest.mark.parametrize("rows", [1, 2, 3, 8])
@pytest.mark.parametrize(("depth", "columns"), [(1, 1), (7, 5), (8, 64), (30, 33), (17, 129)])
def test_it_is_the_product(rows: int, depth: int, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TILE_COLUMNS", 32)  # several tiles
    rng = np.random.default_rng(0)
    thin, large = rng.random((rows, depth), dtype=np.float32), rng.random((depth, columns), dtype=np.float32)
    np.testing.assert_allclose(thin_product(thin, large), thin.astype(float) @ large.astype(float), rtol=1e-6)
