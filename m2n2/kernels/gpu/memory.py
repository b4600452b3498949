"""Whether an error is that of a device without enough memory, whichever library raised it."""

from __future__ import annotations

MEMORY = ("out of memory", "ALLOC_FAILED")  # also of the libraries below PyTorch, which have words of their own


def is_out_of_device_memory(error: Exception) -> bool:
    """Whether the device had too little memory for what was asked; it can be asked for something smaller."""
    import torch  # not above, since the modules of a worker load without it

    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in MEMORY)
    )
