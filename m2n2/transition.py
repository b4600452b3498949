"""Transition operator: from attention to a doubly stochastic Markov chain (section 2 of docs/algorithm.md).

    K = A^(1/T)                                          temperature
    P = diag(r) K diag(c),  rows and columns sum to 1    Sinkhorn-Knopp, "columns, then rows"

The limit is unique, so only the vectors r and c are computed (m2n2/kernels/sinkhorn.py); P itself is never written.

Letters in names: N cells of the grid, P points. K holds rows that sum to N, so that entries are near 1 on any
grid; that keeps them in the range where float16 has its full precision.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from m2n2.errors import InvalidAttention
from m2n2.kernels.compiled import compiled
from m2n2.kernels.fast_exponential import exp2, log2
from m2n2.kernels.gpu.choice import Choice
from m2n2.kernels.gpu.fourth_power import fourth_power, product_of_halves
from m2n2.kernels.gpu.trials import product_trial, temper_trial
from m2n2.kernels.parallel import device_blocks, run_parallel, strips
from m2n2.kernels.sinkhorn import balance
from m2n2.kernels.thin_product import thin_product
from m2n2.settings import Settings

TEMPER_ROWS = 64
POWER_ROUNDS, POWER_TOLERANCE = 2, 1e-6
BITS_OF_INFINITY = np.uint32(0x7F800000)


@dataclass(frozen=True)
class TransitionOperator:
    """`P = diag(row_scale) kernel diag(column_scale)`, all on one device.

    Attributes:
        kernel: (N, N) float32 or float16, rows sum to N; of a fourth power nearly to N, at most 16,384.
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
        step = STEP.on(self.kernel.device, self.kernel.dtype, len(states_PN))
        return step(states_PN, self.row_scale, self.kernel, self.column_scale)

    def step_many(self, states_SN: torch.Tensor) -> torch.Tensor:
        """The same for more states than points, with a kernel in float16: a product of tensor cores."""
        return product_of_halves(states_SN, self.row_scale, self.kernel, self.column_scale)

    def fourth_power(self) -> TransitionOperator:
        """The operator whose step is four of this one, which has a kernel in float16.

        What rounding does to sums of rows and columns, two rounds of Sinkhorn put right; what is left of it is a share
        of each entry, like that of the kernel's own rounding.

        Raises:
            RuntimeError: there is no room for two more kernels, of which one stays; `is_out_of_device_memory` tells.
            InvalidAttention: a row or column of the power has no mass, or a value is not finite.
        """
        power_NN = fourth_power(self.row_scale, self.kernel, self.column_scale)
        scaling = balance(power_NN, POWER_TOLERANCE, POWER_ROUNDS)
        scales = scaling.row_scale.float(), scaling.column_scale.float()
        return TransitionOperator(power_NN, *scales, scaling.rounds, scaling.residual)


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
    _temper(attention_NN, kernel_NN, 1.0 / settings.temperature)
    scaling = balance(kernel_NN, settings.sinkhorn_tolerance, settings.sinkhorn_max_rounds)
    row_scale_N, column_scale_N = scaling.row_scale, scaling.column_scale
    if storage == torch.float16:
        # Row scales of at most 1: states times these are within float16's range. By a power of two, which is exact.
        unit = torch.exp2(torch.frexp(row_scale_N.max()).exponent.double())
        row_scale_N, column_scale_N = row_scale_N / unit, column_scale_N * unit
    scales = row_scale_N.float(), column_scale_N.float()
    return TransitionOperator(kernel_NN, *scales, scaling.rounds, scaling.residual)


def _product(thin_PN: torch.Tensor, large_NN: torch.Tensor) -> torch.Tensor:
    if large_NN.device.type == "cpu":
        return torch.from_numpy(thin_product(thin_PN.numpy(), large_NN.numpy()))
    return thin_PN @ large_NN


def _temper(attention_NN: torch.Tensor, kernel_NN: torch.Tensor, power: float) -> None:
    """Write `A^power`, rows scaled to sum to N, into the kernel, which may be the attention itself."""
    if kernel_NN.device.type == "cpu":
        _temper_cpu(attention_NN, kernel_NN, power)
    else:
        TEMPER.on(kernel_NN.device, attention_NN.dtype, kernel_NN.dtype)(attention_NN, kernel_NN, power)


def _temper_cpu(attention_NN: torch.Tensor, kernel_NN: torch.Tensor, power: float) -> None:
    def work(rows: tuple[int, int]) -> None:
        first, last = rows
        source = attention_NN[first:last].float().contiguous().numpy()
        if not _is_sound(source):
            refuse_faults(attention_NN[first:last].float(), first)
        tempered = kernel_NN[first:last].numpy() if kernel_NN.dtype == torch.float32 else np.empty_like(source)
        _temper_rows(source, np.float32(power), np.empty(source.shape[1], np.float32), tempered)
        if kernel_NN.dtype != torch.float32:
            kernel_NN[first:last] = torch.from_numpy(tempered)

    run_parallel(work, strips(len(kernel_NN), TEMPER_ROWS))


def _temper_torch(attention_NN: torch.Tensor, kernel_NN: torch.Tensor, power: float) -> torch.Tensor:
    """The same on any device; gives the kernel."""
    for rows in device_blocks(*kernel_NN.shape):
        block = attention_NN[rows].float()
        refuse_faults(block, rows.start)
        # The largest of a row becomes 1 first, as in a stable softmax, so that no row can underflow as a whole.
        tempered = torch.pow(block / block.amax(dim=1, keepdim=True), power)
        kernel_NN[rows] = tempered.mul_(kernel_NN.shape[1] / tempered.sum(dim=1, keepdim=True))
    return kernel_NN


def _temper_triton(attention_NN: torch.Tensor, kernel_NN: torch.Tensor, power: float) -> torch.Tensor:
    from m2n2.kernels.gpu.temper import temper  # Triton is installed only where there is a GPU

    faulty_N = temper(attention_NN.contiguous(), kernel_NN, power)
    if bool(faulty_N.any()):
        row = int(faulty_N.int().argmax())
        refuse_faults(attention_NN[row : row + 1].float(), row)
    return kernel_NN


TEMPER = Choice("temperature", _temper_torch, _temper_triton, temper_trial)


def refuse_faults(block: torch.Tensor, first_row: int) -> None:
    """Raise InvalidAttention where rows of the attention have a fault; the first of them has number `first_row`."""
    for fault, what in ((~torch.isfinite(block), "is not finite"), (block < 0, "is negative")):
        if bool(fault.any()):
            row, column = (int(i) for i in fault.nonzero()[0])
            raise InvalidAttention(f"attention of cell {first_row + row} to cell {column} {what}")
    if float(block.amax(dim=1).min()) == 0:
        raise InvalidAttention(f"row {first_row + int(block.amax(dim=1).argmin())} of the attention is zero")


def _step_torch(
    states_PN: torch.Tensor, row_scale_N: torch.Tensor, kernel_NN: torch.Tensor, column_scale_N: torch.Tensor
) -> torch.Tensor:
    scaled_PN = states_PN * row_scale_N
    if kernel_NN.dtype == torch.float32:
        product_PN = _product(scaled_PN, kernel_NN)
    else:
        product_PN = torch.zeros_like(scaled_PN)
        for rows in device_blocks(*kernel_NN.shape):
            product_PN += _product(scaled_PN[:, rows], kernel_NN[rows].float())
    return product_PN.mul_(column_scale_N)


def _step_triton(
    states_PN: torch.Tensor, row_scale_N: torch.Tensor, kernel_NN: torch.Tensor, column_scale_N: torch.Tensor
) -> torch.Tensor:
    from m2n2.kernels.gpu.thin_product import thin_product as on_gpu

    return on_gpu(states_PN, row_scale_N, kernel_NN, column_scale_N)


STEP = Choice("thin product", _step_torch, _step_triton, product_trial)


def _is_sound(rows: np.ndarray) -> bool:
    """Whether all values are finite and not negative, and no row is zero; read as integers, where that is one limit."""
    largest = rows.view(np.uint32).max(axis=1)
    return bool(((largest > 0) & (largest < BITS_OF_INFINITY)).all())


@compiled(fastmath=True, error_model="numpy")
def _temper_rows(rows: np.ndarray, power: np.float32, power_N: np.ndarray, tempered: np.ndarray) -> None:
    """`power_N` is room for a row: rows and result may be one array, and loops over such are not vectorised."""
    n = rows.shape[1]
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
