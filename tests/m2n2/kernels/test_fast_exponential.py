from __future__ import annotations

import numpy as np
from numba import njit

from m2n2.kernels.fast_exponential import exp2, log2


@njit
def all_exp2(values: np.ndarray, results: np.ndarray) -> None:
    for i in range(values.size):
        results[i] = exp2(values[i])


@njit
def all_log2(values: np.ndarray, results: np.ndarray) -> None:
    for i in range(values.size):
        results[i] = log2(values[i])


def test_powers_of_two() -> None:
    values = np.concatenate([np.linspace(-126, 20, 100_001), np.arange(-126, 21)]).astype(np.float32)
    results = np.empty_like(values)
    all_exp2(values, results)
    np.testing.assert_allclose(results, np.exp2(values.astype(float)), rtol=3e-7)


def test_very_small_powers_are_bounded() -> None:
    results = np.empty(2, np.float32)
    all_exp2(np.array([-127, -1e6], np.float32), results)
    np.testing.assert_allclose(results, 2.0**-126, rtol=1e-6)


def test_logarithms() -> None:
    values = np.concatenate([np.exp2(np.linspace(-126, 20, 100_001)), np.linspace(0.5, 2, 10_001)]).astype(np.float32)
    results = np.empty_like(values)
    all_log2(values, results)
    np.testing.assert_allclose(results, np.log2(values.astype(float)), atol=3e-7, rtol=1e-7)
    all_log2(np.ones(1, np.float32), results[:1])
    assert results[0] == 0
