"""Transition operator: from attention to a doubly stochastic Markov chain (section 2 of docs/algorithm.md).

    K = A^(1/T)                                          temperature
    P = diag(r) K diag(c),  rows and columns sum to 1    Sinkhorn-Knopp, "columns, then rows"

The limit is unique, so only the vectors r and c are computed; P itself is never written. A round is one pass over K:
with c given, row i has r_i = 1 / (K_i . c), and adding r_i K_i to a running sum gives the next c = 1 / sum.

Letters in names: N cells of the grid, P points. K holds rows that sum to N, so that entries are near 1 on any grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numba import njit

from m2n2.errors import InvalidAttention
from m2n2.parallel import run_parallel, strips
from m2n2.settings import Settings

BLOCK_VALUES = 1 << 19  # 2 MB of float32: a block of rows stays in cache while it is worked on
STRIP_ROWS = 512  # rows whose sums are added in float32; strips are added in float64
HISTORY = 5  # earlier rounds that the accelerated iteration looks back on


@dataclass(frozen=True)
class TransitionOperator:
    """`P = diag(row_scale) kernel diag(column_scale)`, with how Sinkhorn ended: its rounds and largest relative change."""

    kernel_NN: torch.Tensor
    row_scale_N: torch.Tensor
    column_scale_N: torch.Tensor
    rounds: int
    residual: float

    def step(self, states_PN: torch.Tensor) -> torch.Tensor:
        """One step of the chain for all points: `states @ P`, float32."""
        scaled_PN = states_PN * self.row_scale_N
        if self.kernel_NN.dtype == torch.float32:
            product_PN = scaled_PN @ self.kernel_NN
        else:
            product_PN = torch.zeros_like(scaled_PN)
            for rows, block in _row_blocks(self.kernel_NN):
                product_PN.addmm_(scaled_PN[:, rows], block.float())
        return product_PN.mul_(self.column_scale_N)


def transition_operator(attention_NN: torch.Tensor, settings: Settings, *, overwrite: bool) -> TransitionOperator:
    """Build the operator where the attention lives.

    Args:
        attention_NN: (N, N), not negative; rows need not sum to 1.
        settings: temperature, tolerance and rounds of Sinkhorn, storage type.
        overwrite: whether the attention's memory may be used for the operator.

    Raises:
        InvalidAttention: a value not finite or negative, or a row or column of zeros.
    """
    kernel_NN = _temper(attention_NN, settings, overwrite)
    row_scale_N, column_scale_N, rounds, residual = _balance(kernel_NN, settings)
    return TransitionOperator(kernel_NN, row_scale_N.float(), column_scale_N.float(), rounds, residual)


def _temper(attention_NN: torch.Tensor, settings: Settings, overwrite: bool) -> torch.Tensor:
    """`A^(1/T)` with rows that sum to N, block by block; the memory of A is used again where it can be."""
    n = attention_NN.shape[0]
    storage = getattr(torch, settings.operator_dtype)
    reuse = overwrite and attention_NN.dtype == storage
    kernel_NN = attention_NN if reuse else torch.empty_like(attention_NN, dtype=storage)
    for rows, source in _row_blocks(attention_NN):
        in_place = reuse and storage == torch.float32
        block = source if in_place else source.to(torch.float32, copy=True)
        largest = block.amax(dim=1, keepdim=True)
        if not bool(torch.isfinite(largest).all()) or float(block.amin()) < 0:
            raise InvalidAttention(f"attention is negative or not finite in rows {rows.start} to {rows.stop - 1}")
        if float(largest.min()) == 0:
            raise InvalidAttention(f"attention has a row of zeros in rows {rows.start} to {rows.stop - 1}")
        block.div_(largest)  # as in a stable softmax: no row can underflow as a whole
        block.pow_(1.0 / settings.temperature)
        block.mul_(n / block.sum(dim=1, keepdim=True))
        if not in_place:
            kernel_NN[rows] = block
    return kernel_NN


def _balance(kernel_NN: torch.Tensor, settings: Settings) -> tuple[torch.Tensor, torch.Tensor, int, float]:
    """Sinkhorn-Knopp on the two scaling vectors; returns r, c, the rounds, and the last relative change of c.

    With a tolerance, rounds are accelerated: log c is the fixed point of a smooth map, and Anderson's method
    reaches it in a third of the rounds. Without one (the reference), all rounds are run plainly.
    """
    sweep = _sweep_cpu if kernel_NN.device.type == "cpu" else _sweep_torch
    n = kernel_NN.shape[0]
    ones_N = torch.ones(n, dtype=torch.float64, device=kernel_NN.device)
    column_sum_N = _column_sums(kernel_NN) / n
    if float(column_sum_N.min()) == 0:
        raise InvalidAttention(f"attention has a column of zeros: column {int(column_sum_N.argmin())}")
    extrapolate = _Anderson(HISTORY) if settings.sinkhorn_tolerance > 0 else _plain
    column_scale_N = ones_N / column_sum_N
    row_scale_N = ones_N
    rounds, residual = 0, float("inf")
    while rounds < settings.sinkhorn_max_rounds:
        row_scale_N, column_sum_N = sweep(kernel_NN, column_scale_N)
        rounds += 1
        change_N = -torch.log(column_sum_N * column_scale_N)
        residual = float(change_N.abs().max())
        if not np.isfinite(residual):
            raise InvalidAttention("attention cannot be scaled to a doubly stochastic matrix")
        if residual <= settings.sinkhorn_tolerance or rounds == settings.sinkhorn_max_rounds:
            break
        column_scale_N = torch.exp(extrapolate(torch.log(column_scale_N), change_N))
    return row_scale_N, column_scale_N, rounds, residual


def _plain(position_N: torch.Tensor, change_N: torch.Tensor) -> torch.Tensor:
    return position_N + change_N


class _Anderson:
    """Anderson acceleration of `x <- x + f(x)`: mixes earlier rounds so that the predicted change is smallest."""

    def __init__(self, history: int) -> None:
        self.history = history
        self.positions: list[torch.Tensor] = []
        self.changes: list[torch.Tensor] = []

    def __call__(self, position_N: torch.Tensor, change_N: torch.Tensor) -> torch.Tensor:
        self.positions = [*self.positions, position_N][-self.history - 1 :]
        self.changes = [*self.changes, change_N][-self.history - 1 :]
        if len(self.changes) < 2:
            return position_N + change_N
        change_steps = torch.stack([change_N - earlier for earlier in self.changes[:-1]])
        position_steps = torch.stack([position_N - earlier for earlier in self.positions[:-1]])
        gram = change_steps @ change_steps.T
        gram += 1e-12 * gram.trace() * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
        weights = torch.linalg.solve(gram, change_steps @ change_N)
        return position_N + change_N - weights @ (position_steps + change_steps)


def _column_sums(kernel_NN: torch.Tensor) -> torch.Tensor:
    total_N = torch.zeros(kernel_NN.shape[1], dtype=torch.float64, device=kernel_NN.device)
    for _, block in _row_blocks(kernel_NN):
        total_N += block.float().sum(dim=0)
    return total_N


def _sweep_cpu(kernel_NN: torch.Tensor, column_scale_N: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """One round in one read of the kernel: `r = 1 / (K c)` and the column sums of `diag(r) K`."""
    n = kernel_NN.shape[0]
    scale_N = column_scale_N.numpy().astype(np.float32)
    row_scale_N = np.empty(n, np.float32)
    ranges = strips(n, STRIP_ROWS)
    partial_SN = np.zeros((len(ranges), n), np.float32)

    def work(strip: int) -> None:
        first, last = ranges[strip]
        rows = kernel_NN[first:last].float().numpy()
        _sweep_rows(rows, scale_N, row_scale_N[first:last], partial_SN[strip])

    run_parallel(work, range(len(ranges)))
    return torch.from_numpy(row_scale_N.astype(np.float64)), torch.from_numpy(partial_SN.sum(axis=0, dtype=np.float64))


def _sweep_torch(kernel_NN: torch.Tensor, column_scale_N: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The same round on any device, in blocks of rows."""
    scale_N = column_scale_N.float()
    row_scale_N = torch.empty_like(column_scale_N)
    column_sum_N = torch.zeros_like(column_scale_N)
    for rows, block in _row_blocks(kernel_NN):
        values = block.float()
        row_scale_N[rows] = 1.0 / (values @ scale_N)
        column_sum_N += row_scale_N[rows].float() @ values
    return row_scale_N, column_sum_N


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


def _row_blocks(matrix_NN: torch.Tensor) -> list[tuple[slice, torch.Tensor]]:
    rows_each = max(1, BLOCK_VALUES // matrix_NN.shape[1])
    if matrix_NN.device.type != "cpu":
        rows_each *= 64  # a GPU is filled by larger blocks
    return [(slice(a, b), matrix_NN[a:b]) for a, b in strips(matrix_NN.shape[0], rows_each)]
