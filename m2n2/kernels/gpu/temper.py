"""Temperature: every row of the attention to a power, scaled to sum to N, written over itself or beside it.

A program has a row. It reads it from memory once, for its largest value; the looks for the sum of powers and for the
result find it in the cache (a row of 16,384 is 64 kB).

Letters in names: N cells.
"""

# No `from __future__ import annotations`: Triton reads `tl.constexpr` from the annotations themselves.
import torch
import triton
import triton.language as tl

COLUMNS = 512


def temper(attention_NN: torch.Tensor, kernel_NN: torch.Tensor, power: float) -> torch.Tensor:
    """Write `A^power`, rows scaled to sum to N, into the kernel, which may be the attention itself.

    Args:
        attention_NN: of any floating type, contiguous.
        kernel_NN: float32 or float16, contiguous.

    Returns:
        Which rows have a value that is negative or not finite, or are zero, (N,) bool; these are not written.
    """
    cells = attention_NN.shape[0]
    fault_count_N = torch.empty(cells, dtype=torch.int32, device=attention_NN.device)
    _temper[(cells,)](attention_NN, kernel_NN, fault_count_N, power, cells, COLUMNS=COLUMNS)
    return fault_count_N > 0


@triton.jit
def _temper(attention, kernel, fault_count, power, cells, COLUMNS: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    lane = tl.arange(0, COLUMNS)
    largest = tl.zeros((COLUMNS,), tl.float32)
    faults = tl.zeros((COLUMNS,), tl.int32)
    for first in range(0, cells, COLUMNS):
        value = tl.load(attention + row * cells + first + lane, mask=first + lane < cells, other=0.0).to(tl.float32)
        largest = tl.maximum(largest, value)
        faults += ((value >= 0) & (value < float("inf"))).to(tl.int32) ^ 1  # what is not a number is neither
    row_largest = tl.max(largest, axis=0)
    row_faults = tl.sum(faults, axis=0) + (row_largest == 0).to(tl.int32)
    tl.store(fault_count + row, row_faults)
    if row_faults == 0:
        log_largest = tl.log2(row_largest)
        total = tl.zeros((COLUMNS,), tl.float32)
        for first in range(0, cells, COLUMNS):
            inside = first + lane < cells
            value = tl.load(attention + row * cells + first + lane, mask=inside, other=0.0).to(tl.float32)
            total += tl.exp2(power * (tl.log2(value) - log_largest))
        scale = cells / tl.sum(total, axis=0)
        for first in range(0, cells, COLUMNS):
            inside = first + lane < cells
            value = tl.load(attention + row * cells + first + lane, mask=inside, other=0.0).to(tl.float32)
            tempered = scale * tl.exp2(power * (tl.log2(value) - log_largest))
            tl.store(kernel + row * cells + first + lane, tempered.to(kernel.dtype.element_ty), mask=inside)
