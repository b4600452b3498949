from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from m2n2 import Settings, upsampling
from m2n2.upsampling import upsample
from tests.m2n2 import oracle, synthetic

GRID = st.tuples(st.integers(1, 6), st.integers(1, 6))
SIZE = st.tuples(st.integers(1, 21), st.integers(1, 23))


@given(seed=st.integers(0, 1000), grid=GRID, size=SIZE, maps=st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_it_is_the_oracles_sum(seed: int, grid: tuple[int, int], size: tuple[int, int], maps: int) -> None:
    rng = np.random.default_rng(seed)
    image = synthetic.image(rng, size)
    maps_Phw = rng.random((maps, *grid), dtype=np.float32) * 9
    found = upsample(torch.from_numpy(maps_Phw), image, Settings())
    for map_hw, map_HW in zip(maps_Phw, found, strict=True):
        np.testing.assert_allclose(map_HW, oracle.upsampled(map_hw, image), atol=2e-6, rtol=2e-6)


def test_the_torch_path_means_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    image = synthetic.image(rng, (31, 23))
    maps = torch.from_numpy(rng.random((3, 5, 4), dtype=np.float32))
    expected = upsample(maps, image, Settings())
    monkeypatch.setattr(upsampling, "_smooth_cpu", upsampling._smooth_torch)
    monkeypatch.setattr(upsampling, "BLOCK_VALUES", 20_000)  # several blocks of rows, the last one shorter
    np.testing.assert_allclose(upsample(maps, image, Settings()), expected, atol=1e-5)


def test_a_map_of_zeros_stays_zero() -> None:
    found = upsample(torch.zeros(2, 3, 3), np.zeros((9, 9, 3), np.uint8), Settings())
    assert found.shape == (2, 9, 9)
    assert not found.any()


def test_colours_far_apart_do_not_mix() -> None:
    image = np.zeros((24, 24, 3), np.uint8)
    image[:, 12:] = 255
    maps = torch.zeros(1, 2, 2)
    maps[0, :, 1] = 1
    found = upsample(maps, image, Settings())[0]
    assert found[:, :12].max() < found[:, 12:].min() - 0.3
