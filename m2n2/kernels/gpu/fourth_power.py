"""The fourth power of a chain's matrix in float16, so that one read of it takes four states four steps on.

A product of two N x N matrices of float16 on tensor cores costs as much as some fifty reads of one; two of them give
the fourth power.

Letters in names: N cells, S states.
"""

from __future__ import annotations

import torch

from m2n2.kernels.gpu.choice import Choice
from m2n2.kernels.gpu.trials import product_trial
from m2n2.kernels.parallel import device_blocks

STEPS = 4
# Of an entry as it is stored, at most N. Sums of products are below float16's 65504 once they are scaled; before, while
# they are added in float32, they can be larger; were they infinite, `balance` would refuse the power. A smaller unit in
# between would lose small entries.
LARGEST = 2.0**14
TENSOR_CORES_BESIDE_MEMORY = (8, 9)  # compute capability: an A100's are too slow, for its memory, for this to pay


def pays_on(device: torch.device) -> bool:
    """Whether the device can multiply float16 and add in float32, fast enough beside its memory."""
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < TENSOR_CORES_BESIDE_MEMORY:
        return False
    return PRODUCT.on(device, torch.float16, STEPS) is not PRODUCT.torch_form


def fourth_power(row_scale_N: torch.Tensor, kernel_NN: torch.Tensor, column_scale_N: torch.Tensor) -> torch.Tensor:
    """The fourth power of `diag(row_scale) kernel diag(column_scale)`, rows and columns near N: (N, N) float16.

    Two more matrices of float16 are in memory while it is made, one afterwards.

    Args:
        kernel_NN: float16; the scales are float32.

    Raises:
        RuntimeError: there is no room for it; `is_out_of_device_memory` tells.
    """
    unit = min(float(len(kernel_NN)), LARGEST)
    power_NN = torch.empty_like(kernel_NN)
    for rows in device_blocks(*kernel_NN.shape):
        power_NN[rows] = kernel_NN[rows].float() * (unit * row_scale_N[rows, None]) * column_scale_N
    square_NN = torch.empty_like(power_NN).addmm_(power_NN, power_NN, beta=0, alpha=1 / unit)
    return power_NN.addmm_(square_NN, square_NN, beta=0, alpha=1 / unit)


def product_of_halves(
    states_SN: torch.Tensor, row_scale_N: torch.Tensor, kernel_NN: torch.Tensor, column_scale_N: torch.Tensor
) -> torch.Tensor:
    """`(states · row_scale) @ kernel · column_scale` with a state's high and low half, which together keep 22 bits."""
    scaled_SN = states_SN * row_scale_N
    high_SN = scaled_SN.half()
    halves = torch.cat([high_SN, (scaled_SN - high_SN).half()])
    if kernel_NN.device.type == "cpu":  # has no product of this kind
        product = halves.float() @ kernel_NN.float()
    else:
        product = torch.mm(halves, kernel_NN, torch.float32)
    return (product[: len(states_SN)] + product[len(states_SN) :]) * column_scale_N


def _product_in_float32(
    states_SN: torch.Tensor, row_scale_N: torch.Tensor, kernel_NN: torch.Tensor, column_scale_N: torch.Tensor
) -> torch.Tensor:
    """The same in float32; what a device's product is compared with."""
    return (states_SN * row_scale_N) @ kernel_NN.float() * column_scale_N


NO_LEAP = "every chain goes on a step a product, without the {name!r}"
PRODUCT = Choice("product of halves", _product_in_float32, product_of_halves, product_trial, NO_LEAP)
