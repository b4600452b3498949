"""Whether an error is the device's: then no image is to blame, and only a new process, or another node, can go on."""

from __future__ import annotations

from typing import Any


class DeviceFailed(RuntimeError):
    """The device does not work for this process any more; whatever it is asked next would fail too."""


def device_has_failed(error: Exception) -> bool:
    """Whether this error, which is not one of memory, left the device unusable for this process.

    Libraries above CUDA name its errors each in their way, so where words do not tell, the device is asked.
    """
    import torch

    if isinstance(error, torch.AcceleratorError) or "CUDA error" in str(error):
        return True
    cuda: Any = torch.cuda  # which has no types there
    return cuda.is_initialized() and not _answers()


def _answers() -> bool:
    import torch

    try:
        return bool(torch.ones(1, device="cuda").sum().item() == 1)
    except RuntimeError:
        return False
