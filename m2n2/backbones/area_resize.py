"""The resize that the published results were made with: OpenCV's INTER_AREA on bytes.

Shrinking, a new pixel is the mean of the area it covers. Enlarging, it is the old pixel it starts in, blended with the
next one where it reaches into it, which is close to nearest neighbour. Attention follows the resize closely: bilinear
input moves it by up to a third of its largest value on a small photo.
"""

from __future__ import annotations

import numpy as np

# OpenCV blends bytes in whole numbers, with weights of 11 bits. The shifts below are its rounding, kept so that
# attention is the published one and not merely close to it.
BLEND_BITS = 11


def area_resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize an image to `size` = (height, width).

    Args:
        image: (H, W, 3) uint8.

    Returns:
        (height, width, 3) uint8.
    """
    if image.shape[0] >= size[0] and image.shape[1] >= size[1]:
        return _shrink(image, size)
    return _enlarge(image, size)


def _shrink(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    height, width = size
    rows = _row_means(image.reshape(len(image), -1), height)  # (height, W * 3)
    columns = rows.reshape(height, -1, 3).transpose(1, 0, 2).reshape(-1, height * 3)  # (W, height * 3)
    means = _row_means(columns, width)  # (width, height * 3)
    return np.ascontiguousarray(np.rint(means).astype(np.uint8).reshape(width, height, 3).transpose(1, 0, 2))


def _row_means(rows: np.ndarray, new: int) -> np.ndarray:
    """(old, n) to (new, n) float32: means of `new` equal bands; a row on a band's edge counts by its covered share."""
    edges = np.arange(new + 1) * (len(rows) / new)
    cut = np.minimum(edges.astype(np.int64), len(rows) - 1)
    above_edge = rows[cut] * (edges - cut)[:, None].astype(np.float32)  # the part of a cut row before its edge
    sums = _sums(rows, cut[:-1])
    above_edge[-1] = 0  # the last band is taken to the end
    means: np.ndarray = (sums - above_edge[:-1] + above_edge[1:]) / np.float32(len(rows) / new)
    return means


def _sums(rows: np.ndarray, firsts: np.ndarray) -> np.ndarray:
    """Sums of rows from each of `firsts` to the next, float32."""
    if rows.dtype != np.uint8:
        return np.add.reduceat(rows, firsts, axis=0, dtype=np.float32)
    # Of bytes sums are exact in any order, and `reduceat` takes many times as long.
    sums = np.empty((len(firsts), rows.shape[1]), np.float32)
    for total, first, end in zip(sums, firsts, [*firsts[1:], len(rows)], strict=True):
        total[:] = rows[first]
        for row in rows[first + 1 : end]:
            total += row
    return sums


def _enlarge(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    top, bottom, reach_down = _neighbours(image.shape[0], size[0])
    left, right, reach_right = _neighbours(image.shape[1], size[1])
    one = 1 << BLEND_BITS
    wide = image.astype(np.int32)  # (H, W, 3)
    wide = wide[:, left] * (one - reach_right)[:, None] + wide[:, right] * reach_right[:, None]  # (H, width, 3)
    wide >>= 4
    down = reach_down[:, None, None]
    blended = (wide[top] * (one - down) >> 16) + (wide[bottom] * down >> 16)  # (height, width, 3), in quarters
    enlarged: np.ndarray = (blended + 2 >> 2).astype(np.uint8)
    return enlarged


def _neighbours(old: int, new: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each (new,): the old pixel a new one starts in, the next, and the next one's weight in 2^-11."""
    magnification = new / old
    index = np.arange(new)
    first = np.floor(index * (1.0 / magnification)).astype(np.int64)
    reach = ((index + 1) - (first + 1) * magnification).astype(np.float32)
    reach = np.where((reach <= 0) | (first >= old - 1), 0, reach - np.floor(reach))
    first = np.minimum(first, old - 1)
    weight = np.rint(reach * (1 << BLEND_BITS)).astype(np.int32)
    return first, np.minimum(first + 1, old - 1), weight
