import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from m2n2.kernels.distance_transform import squared_depth


@pytest.mark.parametrize("density", [0.0, 0.5, 0.9, 0.99, 1.0])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (23, 40), (40, 23)])
def test_it_is_the_exact_distance_with_outside_beyond_the_image(shape: tuple[int, int], density: float) -> None:
    region_HW = np.random.default_rng(3).random(shape) < density
    expected_HW = distance_transform_edt(np.pad(region_HW, 1))[1:-1, 1:-1] ** 2
    assert np.array_equal(squared_depth(region_HW), np.rint(expected_HW).astype(np.int64))
