"""A few states times the kernel: `out = (states · row_scale) @ kernel · column_scale`, the kernel read once.

Each program has 32 columns of the result and walks down the kernel in tiles of 64 rows, in whatever type it is stored;
sums are float32. Up to 64 states are multiplied with a tile while it is in registers.

Letters in names: P states, N cells.
"""

# No `from __future__ import annotations`: Triton reads `tl.constexpr` from the annotations themselves.
import torch
import triton
import triton.language as tl

COLUMNS, ROWS = 32, 64
MOST_STATES = 64


def thin_product(
    states_PN: torch.Tensor, row_scale_N: torch.Tensor, kernel_NN: torch.Tensor, column_scale_N: torch.Tensor
) -> torch.Tensor:
    """One step of the chain: (P, N) float32; `kernel_NN` float32 or float16, the rest float32, all on one device."""
    product_PN = torch.empty_like(states_PN)
    cells = kernel_NN.shape[0]
    for first in range(0, len(states_PN), MOST_STATES):
        some_PN = states_PN[first : first + MOST_STATES].contiguous()
        _thin_product[(triton.cdiv(cells, COLUMNS),)](
            some_PN,
            row_scale_N,
            kernel_NN,
            column_scale_N,
            product_PN[first : first + MOST_STATES],
            len(some_PN),
            cells,
            STATES=max(16, triton.next_power_of_2(len(some_PN))),
            ROWS=ROWS,
            COLUMNS=COLUMNS,
        )
    return product_PN


@triton.jit
def _thin_product(
    states,
    row_scale,
    kernel,
    column_scale,
    product,
    count,
    cells,
    STATES: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    p = tl.arange(0, STATES)
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    total = tl.zeros((STATES, COLUMNS), tl.float32)
    for first in range(0, cells, ROWS):
        row = first + tl.arange(0, ROWS)
        state_place = p[:, None].to(tl.int64) * cells + row[None, :]
        state = tl.load(states + state_place, mask=(p[:, None] < count) & (row[None, :] < cells), other=0.0)
        state = state * tl.load(row_scale + row, mask=row < cells, other=0.0)[None, :]
        tile_place = row[:, None].to(tl.int64) * cells + column[None, :]
        tile = tl.load(kernel + tile_place, mask=(row[:, None] < cells) & (column[None, :] < cells), other=0.0)
        total = tl.dot(state, tile.to(tl.float32), total, input_precision="tf32x3")
    total = total * tl.load(column_scale + column, mask=column < cells, other=0.0)[None, :]
    place = p[:, None].to(tl.int64) * cells + column[None, :]
    tl.store(product + place, total, mask=(p[:, None] < count) & (column[None, :] < cells))
