"""Stable order of non-negative float32 values, in time linear in their number.

The bits of a non-negative float32, read as an integer, are ordered as the values are. Ties keep the order of the
pixels, as in the paper's stable sort. Where only the lowest values are asked for, the others are set aside by their
leading bits before anything is sorted.
"""

from __future__ import annotations

import numpy as np
from numba import njit

DIGIT_BITS = 11
DIGITS = 1 << DIGIT_BITS
DIGIT_MASK = np.uint64(DIGITS - 1)
KEY_SHIFT = np.uint64(32)
INDEX_MASK = np.uint64(0xFFFFFFFF)
LEADING_SHIFT = np.uint32(15)  # what is left are sign, exponent and 8 bits of the fraction
LEADING = 1 << 17


@njit(nogil=True, cache=True)
def stable_order(values: np.ndarray) -> np.ndarray:
    """Indices that sort `values` (n,) float32 >= 0, ties by index; (n,) int32."""
    bits = values.view(np.uint32)
    entries = np.empty(values.size, np.uint64)
    for i in range(values.size):
        entries[i] = (np.uint64(bits[i]) << KEY_SHIFT) | np.uint64(i)
    return _sorted_indices(entries)


@njit(nogil=True, cache=True)
def lowest_order(values: np.ndarray, count: int) -> np.ndarray:
    """The first indices of `stable_order`: at least `count` of them where there are as many; (k,) int32."""
    bits = values.view(np.uint32)
    leading = np.zeros(LEADING, np.int32)
    for i in range(values.size):
        leading[bits[i] >> LEADING_SHIFT] += 1
    last, kept = 0, np.int64(leading[0])
    while kept < min(count, values.size):
        last += 1
        kept += leading[last]
    limit = np.uint32((np.uint64(last + 1) << np.uint64(LEADING_SHIFT)) - np.uint64(1))
    entries = np.empty(kept + 1, np.uint64)
    k = 0
    for i in range(values.size):  # without a branch, which would be guessed wrongly half of the time
        entries[k] = (np.uint64(bits[i]) << KEY_SHIFT) | np.uint64(i)
        k += bits[i] <= limit
    return _sorted_indices(entries[:kept])


@njit(nogil=True, cache=True)
def _sorted_indices(entries: np.ndarray) -> np.ndarray:
    """The indices of entries (a value's bits above its index) in order of their values."""
    starts = np.zeros((3, DIGITS), np.int64)
    for entry in entries:
        key = entry >> KEY_SHIFT
        starts[0, key & DIGIT_MASK] += 1
        starts[1, (key >> np.uint64(DIGIT_BITS)) & DIGIT_MASK] += 1
        starts[2, key >> np.uint64(2 * DIGIT_BITS)] += 1
    for digit in range(3):
        total = 0
        for value in range(DIGITS):
            count = starts[digit, value]
            starts[digit, value] = total
            total += count
    spare = np.empty(entries.size, np.uint64)
    for digit in range(2):
        shift = KEY_SHIFT + np.uint64(digit * DIGIT_BITS)
        for i in range(entries.size):
            entry = entries[i]
            value = (entry >> shift) & DIGIT_MASK
            spare[starts[digit, value]] = entry
            starts[digit, value] += 1
        entries, spare = spare, entries
    order = np.empty(entries.size, np.int32)
    shift = KEY_SHIFT + np.uint64(2 * DIGIT_BITS)
    for i in range(entries.size):
        entry = entries[i]
        value = entry >> shift
        order[starts[2, value]] = np.int32(entry & INDEX_MASK)
        starts[2, value] += 1
    return order
