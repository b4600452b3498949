"""Mean over heads of attention probabilities, without ever holding all heads' probabilities at once."""

from __future__ import annotations

import torch

from m2n2.kernels.gpu.choice import Choice
from m2n2.kernels.gpu.trials import head_mean_trial

# Logits of one chunk of rows of one head. On a CPU they should stay in its cache, on a GPU in the second level of its
# cache, 40 MB and more; the number for GPUs is reckoned, not measured.
CHUNK_BYTES_CPU = 8 << 20
CHUNK_BYTES_GPU = 16 << 20


def add_head_mean(
    total: torch.Tensor, query: torch.Tensor, key: torch.Tensor, scale: float, weight: float = 1.0
) -> None:
    """Add `weight` times the mean over heads of softmax(scale · q kᵀ) to `total`, computed in float32.

    Half precision would not do: a softmax over 16,384 keys has mostly entries below its smallest number.

    Args:
        total: (N, N) float32, changed in place.
        query: (heads, N, d) of any dtype.
        key: (heads, K, d), as `query`. The first K - N keys, such as a class token, take part in the softmax and are
            left out of the total.
        scale: factor of the logits, usually 1/√d.
        weight: factor of the whole mean.
    """
    CHOICE.on(total.device, query.dtype, query.shape[2])(total, query, key, scale, weight)


def _add_in_torch(
    total: torch.Tensor, query: torch.Tensor, key: torch.Tensor, scale: float, weight: float
) -> torch.Tensor:
    """The total, changed in place."""
    heads, cells, _ = query.shape
    key_count = key.shape[1]
    queries = query.float() * scale
    keys = key.float().transpose(1, 2).contiguous()  # (heads, d, K)
    chunk_bytes = CHUNK_BYTES_CPU if total.device.type == "cpu" else CHUNK_BYTES_GPU
    rows = max(1, chunk_bytes // (key_count * total.element_size()))
    logits, probabilities = torch.empty(2, min(rows, cells), key_count, device=total.device)
    for start in range(0, cells, rows):
        chunk = total[start : start + rows]  # (rows, N)
        for head in range(heads):
            torch.mm(queries[head, start : start + rows], keys[head], out=logits[: len(chunk)])
            torch.softmax(logits[: len(chunk)], dim=-1, out=probabilities[: len(chunk)])
            chunk.add_(probabilities[: len(chunk), key_count - cells :], alpha=weight / heads)
    return total


def _add_in_triton(
    total: torch.Tensor, query: torch.Tensor, key: torch.Tensor, scale: float, weight: float
) -> torch.Tensor:
    from m2n2.kernels.gpu.head_mean import add_head_mean as on_gpu  # Triton is installed only where there is a GPU

    on_gpu(total, query, key, scale, weight)
    return total


CHOICE = Choice("head mean", _add_in_torch, _add_in_triton, head_mean_trial)
