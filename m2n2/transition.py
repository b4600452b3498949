"""Transition operator: from attention to a doubly stochastic Markov chain (section 2 of docs/algorithm.md).

    K = A^(1/T)                                          temperature
    P = diag(r) K diag(c),  rows and columns sum to 1    Sinkhorn-Knopp, "columns, then rows"

The limit is unique, so only the vectors r and c are computed; P itself is never written. A round is one pass over K:
with c given, row i has r_i = 1 / (K_i . c), and adding r_i K_i to a running sum gives the next c = 1 / sum.

Letters in names: N cells of the grid, P points, S strips. K holds rows that sum to N, so that entries are near 1 on any
grid; that keeps them in the range where float16 has its full precision.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numba import njit

from m2n2.errors import InvalidAttention
from m2n2.kernels.fast_exponential import exp2, log2
from m2n2.kernels.gpu.choice import uses_triton
from m2n2.kernels.parallel import run_parallel, strips
from m2n2.kernels.thin_product import thin_product
from m2n2.settings import Settings

TEMPER_ROWS = 64
SWEEP_ROWS = 512  # rows whose sums are added in float32; the sums of strips are added in float64
DEVICE_BLOCK_VALUES = 1 << 25  # values of one block of rows on a GPU
HISTORY = 5  # earlier rounds that the accelerated iteration looks back on
BITS_OF_INFINITY = np.uint32(0x7F800000)

_NextPosition = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # from a position and the change it asks for


@dataclass(frozen=True)
class TransitionOperator:
    """`P = diag(row_scale) kernel diag(column_scale)`, all on one device.

    Attributes:
        kernel: (N, N) float32 or float16, rows sum to N.
        row_scale, column_scale: (N,) float32.
        rounds: of Sinkhorn that were run.
        residual: largest relative change of a column's scale in the last of them.
    """

    kernel: torch.Tensor
    row_scale: torch.Tensor
    column_scale: torch.Tensor
    rounds: int
    residual: float

    def step(self, states_PN: torch.Tensor) -> torch.Tensor:
        """One step of the chain for all points: `states @ P`, float32."""
        if uses_triton(self.kernel.device):
            from m2n2.kernels.gpu.thin_product import thin_product as on_gpu  # installed only where there is a GPU

            return on_gpu(states_PN, self.row_scale, self.kernel, self.column_scale)
        scaled_PN = states_PN * self.row_scale
        if self.kernel.dtype == torch.float32:
            product_PN = _product(scaled_PN, self.kernel)
        else:
            product_PN = torch.zeros_like(scaled_PN)
            for rows in _blocks(self.kernel):
                product_PN += _product(scaled_PN[:, rows], self.kernel[rows].float())
        return product_PN.mul_(self.column_scale)


def transition_operator(attention_NN: torch.Tensor, settings: Settings, *, overwrite: bool) -> TransitionOperator:
    """Build the operator where the attention lives.

    Args:
        attention_NN: (N, N), not negative; rows need not sum to 1.
        settings: temperature, tolerance and rounds of Sinkhorn, storage type.
        overwrite: whether the attention's memory may be used for the operator.

    Raises:
        InvalidAttention: a value not finite or negative, or a row or column of zeros.
    """
    storage = torch.float16 if settings.operator_dtype == "float16" else torch.float32
    reuse = overwrite and attention_NN.dtype == storage and attention_NN.is_contiguous()
    kernel_NN = attention_NN if reuse else torch.empty(attention_NN.shape, dtype=storage, device=attention_NN.device)
    temper = _temper_cpu if kernel_NN.device.type == "cpu" else _temper_torch
    temper(attention_NN, kernel_NN, 1.0 / settings.temperature)
    return _balanced(kernel_NN, settings)


def _balanced(kernel_NN: torch.Tensor, settings: Settings) -> TransitionOperator:
    """Sinkhorn-Knopp on the two scaling vectors.

    With a tolerance the rounds are accelerated: log c is the fixed point of a smooth map, which Anderson's method
    reaches in about a quarter of the rounds. Without one, as in the reference, all rounds are run plainly.
    """
    sweep = _sweep_of(kernel_NN.device)
    next_position: _NextPosition = _Anderson() if settings.sinkhorn_tolerance > 0 else _plain_step
    ones_N = torch.ones(len(kernel_NN), dtype=torch.float64, device=kernel_NN.device)
    row_scale_N, column_sum_N = sweep(kernel_NN, ones_N)
    if float(column_sum_N.min()) == 0:
        raise InvalidAttention(f"column {int(column_sum_N.argmin())} of the attention is zero")
    log_scale_N = plain_N = -torch.log(column_sum_N)
    rounds = 0
    while True:
        column_scale_N = torch.exp(log_scale_N)
        row_scale_N, column_sum_N = sweep(kernel_NN, column_scale_N)
        rounds += 1
        change_N = -torch.log(column_sum_N) - log_scale_N
        residual = float(change_N.abs().max())
        if not math.isfinite(residual):
            if next_position is _plain_step:
                raise InvalidAttention("the attention cannot be scaled to a doubly stochastic matrix")
            next_position, log_scale_N = _plain_step, plain_N  # acceleration overshot: go on plainly from before
            continue
        if residual <= settings.sinkhorn_tolerance or rounds >= settings.sinkhorn_max_rounds:
            return TransitionOperator(kernel_NN, row_scale_N.float(), column_scale_N.float(), rounds, residual)
        plain_N = log_scale_N + change_N
        log_scale_N = next_position(log_scale_N, change_N)


def _sweep_of(device: torch.device) -> Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    if uses_triton(device):
        from m2n2.kernels.gpu.sinkhorn_sweep import sinkhorn_sweep

        return sinkhorn_sweep
    return _sweep_cpu if device.type == "cpu" else _sweep_torch


def _plain_step(position_N: torch.Tensor, change_N: torch.Tensor) -> torch.Tensor:
    return position_N + change_N


class _Anderson:
    """Anderson's acceleration of `x <- x + f(x)`: mixes recent rounds so that the predicted change is smallest."""

    def __init__(self) -> None:
        self.positions: list[torch.Tensor] = []
        self.changes: list[torch.Tensor] = []

    def __call__(self, position_N: torch.Tensor, change_N: torch.Tensor) -> torch.Tensor:
        if self.changes and change_N.norm() > 2 * self.changes[-1].norm():
            self.positions, self.changes = [], []  # the mixture led astray: start again from here
        self.positions = [*self.positions[-HISTORY:], position_N]
        self.changes = [*self.changes[-HISTORY:], change_N]
        plain_N = position_N + change_N
        if len(self.changes) == 1:
            return plain_N
        change_steps = torch.stack([change_N - earlier_N for earlier_N in self.changes[:-1]])
        position_steps = torch.stack([position_N - earlier_N for earlier_N in self.positions[:-1]])
        gram = change_steps @ change_steps.T
        gram.diagonal().add_(1e-12 * gram.trace() + 1e-300)
        weights = torch.linalg.solve(gram, change_steps @ change_N)
        mixed_N: torch.Tensor = plain_N - weights @ (position_steps + change_steps)
        return mixed_N


def _product(thin_PN: torch.Tensor, large_NN: torch.Tensor) -> torch.Tensor:
    if large_NN.device.type == "cpu":
        return torch.from_numpy(thin_product(thin_PN.numpy(), large_NN.numpy()))
    return thin_PN @ large_NN


def _blocks(matrix_NN: torch.Tensor) -> Iterator[slice]:
    """Blocks of rows, small enough to be copied in float32 beside the matrix."""
    rows_each = max(1, DEVICE_BLOCK_VALUES // matrix_NN.shape[1])
    return (slice(first, last) for first, last in strips(len(matrix_NN), rows_each))


def _temper_cpu(attention_NN: torch.Tensor, kernel_NN: torch.Tensor, power: float) -> None:
    """Write `A^power`, rows scaled to sum to N, into the kernel, which may be the attention itself."""

    def work(rows: tuple[int, int]) -> None:
        first, last = rows
        source = attention_NN[first:last].float().contiguous().numpy()
        if not _is_sound(source):
            refuse_faults(attention_NN[first:last].float(), first)
        tempered = kernel_NN[first:last].numpy() if kernel_NN.dtype == torch.float32 else np.empty_like(source)
        _temper_rows(source, np.float32(power), tempered)
        if kernel_NN.dtype != torch.float32:
            kernel_NN[first:last] = torch.from_numpy(tempered)

    run_parallel(work, strips(len(kernel_NN), TEMPER_ROWS))


def _temper_torch(attention_NN: torch.Tensor, kernel_NN: torch.Tensor, power: float) -> None:
    """The same on any device."""
    for rows in _blocks(kernel_NN):
        block = attention_NN[rows].float()
        refuse_faults(block, rows.start)
        # The largest of a row becomes 1 first, as in a stable softmax, so that no row can underflow as a whole.
        tempered = torch.pow(block / block.amax(dim=1, keepdim=True), power)
        kernel_NN[rows] = tempered.mul_(kernel_NN.shape[1] / tempered.sum(dim=1, keepdim=True))


def refuse_faults(block: torch.Tensor, first_row: int) -> None:
    """Raise InvalidAttention where rows of the attention have a fault; the first of them has number `first_row`."""
    for fault, what in ((~torch.isfinite(block), "is not finite"), (block < 0, "is negative")):
        if bool(fault.any()):
            row, column = (int(i) for i in fault.nonzero()[0])
            raise InvalidAttention(f"attention of cell {first_row + row} to cell {column} {what}")
    if float(block.amax(dim=1).min()) == 0:
        raise InvalidAttention(f"row {first_row + int(block.amax(dim=1).argmin())} of the attention is zero")


def _sweep_cpu(kernel_NN: torch.Tensor, column_scale_N: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """One round in one read of the kernel: `r = 1 / (K c)` and the column sums of `diag(r) K`, float64."""
    scale_N = column_scale_N.float().numpy()
    row_scale_N = np.empty(len(scale_N), np.float32)
    ranges = strips(len(scale_N), SWEEP_ROWS)
    column_sum_SN = np.zeros((len(ranges), len(scale_N)), np.float32)

    def work(strip: int) -> None:
        first, last = ranges[strip]
        for start, end in strips(last - first, TEMPER_ROWS):
            rows = slice(first + start, first + end)
            _sweep_rows(kernel_NN[rows].float().numpy(), scale_N, row_scale_N[rows], column_sum_SN[strip])

    run_parallel(work, range(len(ranges)))
    return torch.from_numpy(row_scale_N).double(), torch.from_numpy(column_sum_SN.sum(axis=0, dtype=np.float64))


def _sweep_torch(kernel_NN: torch.Tensor, column_scale_N: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The same on any device."""
    scale_N = column_scale_N.float()
    row_scale_N = torch.empty_like(column_scale_N)
    column_sum_N = torch.zeros_like(column_scale_N)
    for rows in _blocks(kernel_NN):
        block = kernel_NN[rows].float()
        row_scale = 1.0 / (block @ scale_N)
        row_scale_N[rows] = row_scale.double()
        column_sum_N += row_scale @ block
    return row_scale_N, column_sum_N


@njit(nogil=True, cache=True)
def _is_sound(rows: np.ndarray) -> bool:
    """Whether all values are finite and not negative, and no row is zero; read as integers, where that is one limit."""
    bits = rows.view(np.uint32)
    for i in range(bits.shape[0]):
        largest = np.uint32(0)
        for j in range(bits.shape[1]):
            largest = max(largest, bits[i, j])
        if largest == 0 or largest >= BITS_OF_INFINITY:
            return False
    return True


@njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _temper_rows(rows: np.ndarray, power: np.float32, tempered: np.ndarray) -> None:
    n = rows.shape[1]
    power_N = np.empty(n, np.float32)  # rows and result may be one array, and such loops are not vectorised
    for i in range(rows.shape[0]):
        row_N = rows[i]
        largest = np.float32(0.0)
        for j in range(n):
            largest = max(largest, row_N[j])
        log_largest = log2(largest)
        total = np.float32(0.0)
        for j in range(n):
            value = exp2(power * (log2(row_N[j]) - log_largest)) if row_N[j] > 0 else np.float32(0.0)
            power_N[j] = value
            total += value
        scale = np.float32(n) / total
        for j in range(n):
            tempered[i, j] = scale * power_N[j]


@njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _sweep_rows(rows: np.ndarray, column_scale_N: np.ndarray, row_scale: np.ndarray, column_sum_N: np.ndarray) -> None:
    for i in range(rows.shape[0]):
        row_N = rows[i]
        total = np.float32(0.0)
        for j in range(row_N.size):
            total += row_N[j] * column_scale_N[j]
        scale = np.float32(1.0) / total
        row_scale[i] = scale
        for j in range(row_N.size):
            column_sum_N[j] += scale * row_N[j]
