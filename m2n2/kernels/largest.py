"""The largest of non-negative float32 values, found among their bits: whole numbers in the same order."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def largest(values: np.ndarray) -> np.float32:
    """Of values (n,) float32 >= 0; 0 where there are none."""
    found = np.zeros(1, np.uint32)
    for bits in values.view(np.uint32):
        found[0] = max(found[0], bits)
    largest_value: np.float32 = found.view(np.float32)[0]
    return largest_value
