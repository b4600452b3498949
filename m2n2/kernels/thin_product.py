"""A few rows times a large matrix on the CPU: the Markov chain's product for a handful of points.

A BLAS is tuned for square matrices: with 8 rows it ran at a tenth of the machine's rate here, and far less while other
processes shared the cores. This kernel reads the large matrix once, in tiles that stay in cache while all rows use
them.

Letters in names: P rows of the thin matrix, R the shared dimension, N columns of the result.
"""

from __future__ import annotations

import numpy as np

from m2n2.kernels.compiled import compiled
from m2n2.kernels.parallel import run_parallel, strips, threads

MOST_TILE_COLUMNS = 2048
ROWS_AT_ONCE = 8  # rows of the large matrix that are added to a row of the result in one pass over it


def thin_product(thin_PR: np.ndarray, large_RN: np.ndarray) -> np.ndarray:
    """`thin_PR @ large_RN`, all float32; a row of the result depends neither on the others nor on the threads."""
    count, columns = len(thin_PR), large_RN.shape[1]
    tiles_a_thread = -(-columns // (MOST_TILE_COLUMNS * threads()))
    tile_columns = -(-columns // (tiles_a_thread * threads()))  # the same work for every thread
    even_PR = np.concatenate([thin_PR, np.zeros_like(thin_PR[: count % 2])])  # the kernel takes rows in pairs
    product_PN = np.empty((len(even_PR), columns), np.float32)

    def work(tile: tuple[int, int]) -> None:
        first, last = tile
        product_PX = np.zeros((len(even_PR), last - first), np.float32)
        _add_tile(even_PR, large_RN, first, np.empty((len(even_PR), ROWS_AT_ONCE), np.float32), product_PX)
        product_PN[:, first:last] = product_PX

    run_parallel(work, strips(columns, tile_columns))
    return product_PN[:count]


@compiled()
def _add_tile(
    thin_PR: np.ndarray, large_RN: np.ndarray, first: int, factors: np.ndarray, product_PX: np.ndarray
) -> None:
    """Add the product's columns from `first` on, as many as there is room for; `factors` (P, ROWS_AT_ONCE) are lost."""
    count, depth = thin_PR.shape
    last = first + product_PX.shape[1]
    for row in range(0, depth, ROWS_AT_ONCE):
        for k in range(ROWS_AT_ONCE):
            for p in range(count):
                factors[p, k] = thin_PR[p, row + k] if row + k < depth else 0.0
        end = depth - 1  # past the last row its values are read again, with factors of 0
        for p in range(0, count, 2):
            _add_rows(
                factors[p],
                factors[p + 1],
                large_RN[row, first:last],
                large_RN[min(row + 1, end), first:last],
                large_RN[min(row + 2, end), first:last],
                large_RN[min(row + 3, end), first:last],
                large_RN[min(row + 4, end), first:last],
                large_RN[min(row + 5, end), first:last],
                large_RN[min(row + 6, end), first:last],
                large_RN[min(row + 7, end), first:last],
                product_PX[p],
                product_PX[p + 1],
            )


# Fused multiply-adds, but no reordering: a row's sum must not depend on which of the pair it is.
@compiled(fastmath={"contract"}, error_model="numpy")
def _add_rows(
    a: np.ndarray,
    b: np.ndarray,
    row_0: np.ndarray,
    row_1: np.ndarray,
    row_2: np.ndarray,
    row_3: np.ndarray,
    row_4: np.ndarray,
    row_5: np.ndarray,
    row_6: np.ndarray,
    row_7: np.ndarray,
    sum_a: np.ndarray,
    sum_b: np.ndarray,
) -> None:
    """Add eight rows with factors a to one sum and with factors b to another: 16 multiply-adds for 10 loads."""
    a0, a1, a2, a3, a4, a5, a6, a7 = a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]
    b0, b1, b2, b3, b4, b5, b6, b7 = b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]
    for j in range(sum_a.size):
        v0, v1, v2, v3, v4, v5, v6, v7 = row_0[j], row_1[j], row_2[j], row_3[j], row_4[j], row_5[j], row_6[j], row_7[j]
        sum_a[j] += (a0 * v0 + a1 * v1) + (a2 * v2 + a3 * v3) + (a4 * v4 + a5 * v5) + (a6 * v6 + a7 * v7)
        sum_b[j] += (b0 * v0 + b1 * v1) + (b2 * v2 + b3 * v3) + (b4 * v4 + b5 * v5) + (b6 * v6 + b7 * v7)
