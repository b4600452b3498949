import numpy as np
import pytest
from scipy.ndimage import label

from m2n2.kernels.component import component_at


@pytest.mark.parametrize("seed", range(6))
def test_it_is_the_four_connected_part_that_holds_the_pixel(seed: int) -> None:
    rng = np.random.default_rng(seed)
    region_HW = rng.random((12, 17)) < 0.6
    kept_HW = region_HW.copy()
    parts_HW, _ = label(region_HW)
    for y, x in np.argwhere(region_HW)[::7]:
        assert np.array_equal(component_at(region_HW, x, y), parts_HW == parts_HW[y, x])
    y, x = np.argwhere(~region_HW)[0]
    assert not component_at(region_HW, x, y).any()
    assert np.array_equal(region_HW, kept_HW)
