"""Sinkhorn-Knopp: the vectors r and c that make diag(r) K diag(c) doubly stochastic, "columns, then rows".

A round is one pass over K: with c given, row i has r_i = 1 / (K_i . c), and adding r_i K_i to a running sum gives the
next c = 1 / sum.

Letters in names: N rows and columns, S strips.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from m2n2.errors import InvalidAttention
from m2n2.kernels.compiled import compiled
from m2n2.kernels.gpu.choice import Choice
from m2n2.kernels.gpu.trials import sweep_trial
from m2n2.kernels.parallel import device_blocks, run_parallel, strips

ROWS_AT_ONCE = 64
SWEEP_ROWS = 512  # rows whose sums are added in float32; the sums of strips are added in float64
HISTORY = 5  # earlier rounds that the accelerated iteration looks back on
# Rounds on a GPU between two questions how far they came: each makes the host wait for the device. Those that turn out
# to have been too many are thrown away.
LOOK_EVERY = 8

_History = tuple[tuple[torch.Tensor, torch.Tensor], ...]  # positions and the changes they asked for


@dataclass(frozen=True)
class Scaling:
    """`diag(row_scale) kernel diag(column_scale)` is doubly stochastic.

    Attributes:
        row_scale, column_scale: (N,) float64.
        rounds: that were run.
        residual: largest relative change of a column's scale in the last of them.
    """

    row_scale: torch.Tensor
    column_scale: torch.Tensor
    rounds: int
    residual: float


def balance(kernel_NN: torch.Tensor, tolerance: float, max_rounds: int) -> Scaling:
    """Sinkhorn-Knopp on the two scaling vectors, where the kernel lives.

    With a tolerance the rounds are accelerated: log c is the fixed point of a smooth map, which Anderson's method
    reaches in about a quarter of the rounds. Without one, as in the reference, all rounds are run plainly.

    Args:
        kernel_NN: float32 or float16, not negative, rows near N.
        tolerance: the rounds end when no column's scale changes by more than this share.
        max_rounds: rounds at most.

    Raises:
        InvalidAttention: a column of zeros, or no scaling was found.
    """
    accelerated = tolerance > 0
    ones_N = torch.ones(len(kernel_NN), dtype=torch.float64, device=kernel_NN.device)
    _, column_sum_N = _sweep(kernel_NN, ones_N)
    if float(column_sum_N.min()) == 0:
        raise InvalidAttention(f"column {int(column_sum_N.argmin())} of the attention is zero")
    position_N = plain_N = -torch.log(column_sum_N)
    history: _History = ()
    rounds, norm = 0, 0.0
    while True:
        at_once = max(1, min(_look_every(kernel_NN.device), max_rounds - rounds))
        ahead = _rounds_ahead(kernel_NN, position_N, history, at_once, accelerated)
        for each, residual, norm_now in zip(ahead, *_looked_at(ahead), strict=True):
            norm_before, norm = norm, norm_now
            rounds += 1
            if not math.isfinite(residual):
                if not accelerated:
                    raise InvalidAttention("the attention cannot be scaled to a doubly stochastic matrix")
                # Acceleration overshot: go on plainly from before.
                accelerated, position_N, history = False, plain_N, ()
                break
            if residual <= tolerance or rounds >= max_rounds:
                return Scaling(each.row_scale, each.column_scale, rounds, residual)
            plain_N = each.position + each.change
            if each.history and norm > 2 * norm_before:
                # The mixture led astray: start again from here.
                position_N, history = plain_N, ((each.position, each.change),)
                break
        else:
            position_N, history = _next(ahead[-1], accelerated)


@dataclass(frozen=True)
class _Round:
    """A round from a position, log c; the history is what its position was mixed from."""

    position: torch.Tensor
    history: _History
    row_scale: torch.Tensor
    column_scale: torch.Tensor
    change: torch.Tensor


def _look_every(device: torch.device) -> int:
    return 1 if device.type == "cpu" else LOOK_EVERY


def _rounds_ahead(
    kernel_NN: torch.Tensor, position_N: torch.Tensor, history: _History, count: int, accelerated: bool
) -> list[_Round]:
    """Rounds one after the other, as if none of them were the last and none led astray; the host waits for nothing."""
    ahead: list[_Round] = []
    for _ in range(count):
        if ahead:
            position_N, history = _next(ahead[-1], accelerated)
        column_scale_N = torch.exp(position_N)
        row_scale_N, column_sum_N = _sweep(kernel_NN, column_scale_N)
        change_N = -torch.log(column_sum_N) - position_N
        ahead.append(_Round(position_N, history, row_scale_N, column_scale_N, change_N))
    return ahead


def _looked_at(ahead: list[_Round]) -> tuple[list[float], list[float]]:
    """Each round's residual and the norm of its change, in one question to the device."""
    residuals = torch.stack([each.change.abs().max() for each in ahead])
    norms = torch.stack([each.change.norm() for each in ahead])
    residual_list, norm_list = torch.stack([residuals, norms]).tolist()
    return residual_list, norm_list


def _next(of: _Round, accelerated: bool) -> tuple[torch.Tensor, _History]:
    """The position after a round by Anderson's method: recent rounds mixed so that the predicted change is smallest."""
    plain_N = of.position + of.change
    if not accelerated:
        return plain_N, ()
    history = (*of.history[-HISTORY:], (of.position, of.change))
    if len(history) == 1:
        return plain_N, history
    position_steps = torch.stack([of.position - earlier_N for earlier_N, _ in history[:-1]])
    change_steps = torch.stack([of.change - earlier_N for _, earlier_N in history[:-1]])
    gram = change_steps @ change_steps.T
    gram.diagonal().add_(1e-12 * gram.trace() + 1e-300)
    # Unlike `solve` it asks nothing of the device; what cannot be solved is not finite, and seen as that.
    weights, _ = torch.linalg.solve_ex(gram, change_steps @ of.change)
    mixed_N: torch.Tensor = plain_N - weights @ (position_steps + change_steps)
    return mixed_N, history


def _sweep(kernel_NN: torch.Tensor, column_scale_N: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    device = kernel_NN.device
    sweep = _sweep_cpu if device.type == "cpu" else SWEEP.on(device, kernel_NN.dtype)
    return sweep(kernel_NN, column_scale_N)


def _sweep_cpu(kernel_NN: torch.Tensor, column_scale_N: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """One round in one read of the kernel: `r = 1 / (K c)` and the column sums of `diag(r) K`, float64."""
    scale_N = column_scale_N.float().numpy()
    row_scale_N = np.empty(len(scale_N), np.float32)
    ranges = strips(len(scale_N), SWEEP_ROWS)
    column_sum_SN = np.zeros((len(ranges), len(scale_N)), np.float32)

    def work(strip: int) -> None:
        first, last = ranges[strip]
        for start, end in strips(last - first, ROWS_AT_ONCE):
            rows = slice(first + start, first + end)
            _sweep_rows(kernel_NN[rows].float().numpy(), scale_N, row_scale_N[rows], column_sum_SN[strip])

    run_parallel(work, range(len(ranges)))
    return torch.from_numpy(row_scale_N).double(), torch.from_numpy(column_sum_SN.sum(axis=0, dtype=np.float64))


def _sweep_torch(kernel_NN: torch.Tensor, column_scale_N: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The same on any device."""
    scale_N = column_scale_N.float()
    row_scale_N = torch.empty_like(column_scale_N)
    column_sum_N = torch.zeros_like(column_scale_N)
    for rows in device_blocks(*kernel_NN.shape):
        block = kernel_NN[rows].float()
        row_scale = 1.0 / (block @ scale_N)
        row_scale_N[rows] = row_scale.double()
        column_sum_N += row_scale @ block
    return row_scale_N, column_sum_N


def _sweep_triton(kernel_NN: torch.Tensor, column_scale_N: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    from m2n2.kernels.gpu.sinkhorn_sweep import sinkhorn_sweep  # Triton is installed only where there is a GPU

    return sinkhorn_sweep(kernel_NN, column_scale_N)


SWEEP = Choice("Sinkhorn sweep", _sweep_torch, _sweep_triton, sweep_trial)


@compiled(fastmath=True, error_model="numpy")
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
