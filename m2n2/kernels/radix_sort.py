"""Stable order of non-negative float32 values, in time linear in their number.

The bits of a non-negative float32, read as an integer, are ordered as the values are. Ties keep the order of the
pixels, as in the paper's stable sort. Where only the lowest values are asked for, the others are set aside by their
leading bits before anything is sorted.
"""

from __future__ import annotations

import numpy as np

from m2n2.kernels.compiled import compiled

DIGIT_BITS = 11
DIGITS = 1 << DIGIT_BITS
DIGIT_MASK = np.uint64(DIGITS - 1)
KEY_SHIFT = np.uint64(32)
INDEX_MASK = np.uint64(0xFFFFFFFF)
LEADING_SHIFT = np.uint32(15)  # what is left are sign, exponent and 8 bits of the fraction
LEADING = 1 << 17


def stable_order(values: np.ndarray) -> np.ndarray:
    """Indices that sort `values` (n,) float32 >= 0, ties by index; (n,) int32."""
    bits = values.view(np.uint32)
    return _sorted((bits.astype(np.uint64) << KEY_SHIFT) | np.arange(bits.size, dtype=np.uint64))


def lowest_order(values: np.ndarray, count: int) -> np.ndarray:
    """The first indices of `stable_order`: at least `count` of them where there are as many; (k,) int32."""
    bits = values.view(np.uint32)
    leading = np.zeros(LEADING, np.int32)
    kept, limit = _count_leading(bits, min(count, bits.size), leading)
    entries = np.empty(kept + 1, np.uint64)
    _take_up_to(bits, np.uint32(limit), entries)
    return _sorted(entries[:kept])


def _sorted(entries: np.ndarray) -> np.ndarray:
    """The indices of entries (a value's bits above its index) in order of their values; entries are lost."""
    order = np.empty(entries.size, np.int32)
    _sort(entries, np.empty_like(entries), np.zeros((3, DIGITS), np.int64), order)
    return order


@compiled()
def _count_leading(bits: np.ndarray, wanted: int, leading: np.ndarray) -> tuple[np.int64, np.int64]:
    """How many values at least `wanted` are, that are not parted by their leading bits, and the largest's bits."""
    for i in range(bits.size):
        leading[bits[i] >> LEADING_SHIFT] += 1
    last, kept = 0, np.int64(leading[0])
    while kept < wanted:
        last += 1
        kept += leading[last]
    return kept, ((last + 1) << np.int64(LEADING_SHIFT)) - 1


@compiled()
def _take_up_to(bits: np.ndarray, limit: np.uint32, entries: np.ndarray) -> None:
    """The entries of values whose bits are at most `limit`, of which there is one less than room."""
    k = 0
    for i in range(bits.size):  # without a branch, which would be guessed wrongly half of the time
        entries[k] = (np.uint64(bits[i]) << KEY_SHIFT) | np.uint64(i)
        k += bits[i] <= limit


@compiled()
def _sort(entries: np.ndarray, spare: np.ndarray, starts: np.ndarray, order: np.ndarray) -> None:
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
    for digit in range(2):
        shift = KEY_SHIFT + np.uint64(digit * DIGIT_BITS)
        for i in range(entries.size):
            entry = entries[i]
            value = (entry >> shift) & DIGIT_MASK
            spare[starts[digit, value]] = entry
            starts[digit, value] += 1
        entries, spare = spare, entries
    shift = KEY_SHIFT + np.uint64(2 * DIGIT_BITS)
    for i in range(entries.size):
        entry = entries[i]
        value = entry >> shift
        order[starts[2, value]] = np.int32(entry & INDEX_MASK)
        starts[2, value] += 1
