"""A few states times the kernel: `out = (states · row_scale) @ kernel · column_scale`, the kernel read once.

Each program has 128 bytes of the kernel's columns and walks down them in tiles of 64 rows; sums are float32. Up to 64
states are multiplied with a tile while it is in registers: in float32 by three products of TF32; with a kernel in
float16 by two of float16, of a state's high and low half, which together keep 22 bits of it.

Letters in names: P states, N cells.
"""

# No `from __future__ import annotations`: Triton reads `tl.constexpr` from the annotations themselves.
import torch
import triton
import triton.language as tl

COLUMN_BYTES, ROWS = 128, 64
MOST_STATES = 64


def thin_product(
    states_PN: torch.Tensor, row_scale_N: torch.Tensor, kernel_NN: torch.Tensor, column_scale_N: torch.Tensor
) -> torch.Tensor:
    """One step of the chain: (P, N) float32; `kernel_NN` float32 or float16, the rest float32, all on one device.

    With a kernel in float16, states times row scales must be within its range, at most 65504.
    """
    product_PN = torch.empty_like(states_PN)
    cells = kernel_NN.shape[0]
    columns = COLUMN_BYTES // kernel_NN.element_size()
    for first in range(0, len(states_PN), MOST_STATES):
        some_PN = states_PN[first : first + MOST_STATES].contiguous()
        _thin_product[(triton.cdiv(cells, columns),)](
            some_PN,
            row_scale_N,
            kernel_NN,
            column_scale_N,
            product_PN[first : first + MOST_STATES],
            len(some_PN),
            cells,
            STATES=max(16, triton.next_power_of_2(len(some_PN))),
            ROWS=ROWS,
            COLUMNS=columns,
            HALF=kernel_NN.dtype == torch.float16,
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
    HALF: tl.constexpr,
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
        if HALF:
            high = state.to(tl.float16)
            total = tl.dot(high, tile, total)
            total = tl.dot((state - high.to(tl.float32)).to(tl.float16), tile, total)
        else:
            total = tl.dot(state, tile, total, input_precision="tf32x3")
    total = total * tl.load(column_scale + column, mask=column < cells, other=0.0)[None, :]
    place = p[:, None].to(tl.int64) * cells + column[None, :]
    tl.store(product + place, total, mask=(p[:, None] < count) & (column[None, :] < cells))
