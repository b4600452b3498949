"""Stable order of non-negative float32 values, in time linear in their number.

The bits of a non-negative float32, read as an integer, are ordered as the values are. Flood fill and threshold both
need the order of all pixels of a map; ties keep the order of the pixels, as in the paper's stable sort.
"""

from __future__ import annotations

import numpy as np
from numba import njit

DIGIT_BITS = 11
DIGITS = 1 << DIGIT_BITS
DIGIT_MASK = np.uint64(DIGITS - 1)
KEY_SHIFT = np.uint64(32)


@njit(nogil=True, cache=True)
def stable_order(values: np.ndarray) -> np.ndarray:
    """Indices that sort `values` (n,) float32 >= 0, ties by index; (n,) int32."""
    n = values.size
    bits = values.view(np.uint32)
    starts = np.zeros((3, DIGITS), np.int64)
    entries = np.empty(n, np.uint64)
    for i in range(n):
        key = np.uint64(bits[i])
        entries[i] = (key << KEY_SHIFT) | np.uint64(i)
        starts[0, key & DIGIT_MASK] += 1
        starts[1, (key >> np.uint64(DIGIT_BITS)) & DIGIT_MASK] += 1
        starts[2, key >> np.uint64(2 * DIGIT_BITS)] += 1
    for digit in range(3):
        total = 0
        for value in range(DIGITS):
            count = starts[digit, value]
            starts[digit, value] = total
            total += count
    spare = np.empty(n, np.uint64)
    for digit in range(2):
        shift = KEY_SHIFT + np.uint64(digit * DIGIT_BITS)
        for i in range(n):
            entry = entries[i]
            value = (entry >> shift) & DIGIT_MASK
            spare[starts[digit, value]] = entry
            starts[digit, value] += 1
        entries, spare = spare, entries
    order = np.empty(n, np.int32)
    shift = KEY_SHIFT + np.uint64(2 * DIGIT_BITS)
    for i in range(n):
        entry = entries[i]
        value = entry >> shift
        order[starts[2, value]] = np.int32(entry & np.uint64(0xFFFFFFFF))
        starts[2, value] += 1
    return order
