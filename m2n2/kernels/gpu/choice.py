"""Where the Triton kernels take the place of the torch forms: the one place that decides it.

They are proven in Triton's interpreter and have never run on a GPU, so `M2N2_TRITON=1` has to ask for them. Triton
comes with torch's CUDA build.
"""

from __future__ import annotations

import os

import torch


def uses_triton(device: torch.device) -> bool:
    """Whether tensors on this device are worked on by the Triton kernels."""
    return device.type == "cuda" and os.environ.get("M2N2_TRITON") == "1"
