"""A round of Sinkhorn in one read of the kernel: `r = 1 / (K c)` and the column sums of `diag(r) K`.

A program has eight rows. It reads them once for their sums; the second look, for the sums of columns, finds them in the
second level of the cache (eight rows of 16,384 are 512 kB in float32). Column sums are added to one of several rows of
partial sums without atomics, a row a program's group, and those are added up in float64.

Letters in names: N cells, G groups.
"""

# No `from __future__ import annotations`: Triton reads `tl.constexpr` from the annotations themselves.
import torch
import triton
import triton.language as tl

ROWS, COLUMNS = 8, 512
MOST_GROUPS = 512


def sinkhorn_sweep(kernel_NN: torch.Tensor, column_scale_N: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Row scales and column sums, (N,) float64 each, of a float32 or float16 kernel."""
    cells = kernel_NN.shape[0]
    blocks = triton.cdiv(cells, ROWS)
    groups = min(MOST_GROUPS, blocks)
    row_scale_N = torch.empty(cells, dtype=torch.float32, device=kernel_NN.device)
    partial_GN = torch.zeros(groups, cells, dtype=torch.float32, device=kernel_NN.device)
    _sweep[(groups,)](
        kernel_NN,
        column_scale_N.float(),
        row_scale_N,
        partial_GN,
        cells,
        blocks,
        ROWS=ROWS,
        COLUMNS=COLUMNS,
    )
    return row_scale_N.double(), partial_GN.sum(dim=0, dtype=torch.float64)


@triton.jit
def _sweep(
    kernel,
    column_scale,
    row_scale,
    partial,
    cells,
    blocks,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    group = tl.program_id(0)
    for block in range(group, blocks, tl.num_programs(0)):
        row = block * ROWS + tl.arange(0, ROWS)
        total = tl.zeros((ROWS,), tl.float32)
        for first in range(0, cells, COLUMNS):
            column = first + tl.arange(0, COLUMNS)
            inside = (row[:, None] < cells) & (column[None, :] < cells)
            tile = tl.load(kernel + row[:, None].to(tl.int64) * cells + column[None, :], mask=inside, other=0.0)
            scale = tl.load(column_scale + column, mask=column < cells, other=0.0)
            total += tl.sum(tile.to(tl.float32) * scale[None, :], axis=1)
        own = tl.where(row < cells, 1.0 / tl.where(row < cells, total, 1.0), 0.0)
        tl.store(row_scale + row, own, mask=row < cells)
        for first in range(0, cells, COLUMNS):
            column = first + tl.arange(0, COLUMNS)
            inside = (row[:, None] < cells) & (column[None, :] < cells)
            tile = tl.load(kernel + row[:, None].to(tl.int64) * cells + column[None, :], mask=inside, other=0.0)
            added = tl.sum(tile.to(tl.float32) * own[:, None], axis=0)
            place = partial + group.to(tl.int64) * cells + column
            tl.store(place, tl.load(place, mask=column < cells, other=0.0) + added, mask=column < cells)
