"""Mean over heads of attention probabilities, without ever holding all heads' probabilities at once."""

from __future__ import annotations

import torch

# Probabilities of one chunk of rows, all heads together: small enough for a CPU's cache, large enough for a GPU.
CHUNK_BYTES = {"cpu": 4 << 20, "cuda": 256 << 20}


def add_head_mean(
    total: torch.Tensor, query: torch.Tensor, key: torch.Tensor, scale: float, weight: float = 1.0
) -> None:
    """Add `weight` times the mean over heads of softmax(scale · q kᵀ) to `total`, computed in float32.

    Half precision would not do: a softmax over 16,384 keys has mostly entries below its smallest number.

    Args:
        total: (N, N) float32, changed in place.
        query: (heads, N, d) of any dtype.
        key: (heads, N, d), as `query`.
        scale: factor of the logits, usually 1/√d.
        weight: factor of the whole mean.
    """
    heads, cells, _ = query.shape
    scaled_query = query.float() * scale
    keys = key.float().transpose(1, 2)  # (heads, d, N)
    chunk_bytes = CHUNK_BYTES.get(total.device.type, CHUNK_BYTES["cuda"])
    rows = max(1, chunk_bytes // (heads * cells * total.element_size()))
    for start in range(0, cells, rows):
        logits = scaled_query[:, start : start + rows] @ keys  # (heads, rows, N)
        total[start : start + rows].add_(logits.softmax(dim=-1).sum(dim=0), alpha=weight / heads)
