"""Tiny arguments that the Triton kernels are tried with before they are used; sides that fill no tile evenly.

Letters in names: P states, N cells.
"""

from __future__ import annotations

import torch

PRODUCT_CELLS, SWEEP_CELLS, HEAD_CELLS = 80, 530, 70  # more than a tile of each kernel


def product_trial(dtype: torch.dtype, states: int) -> tuple[torch.Tensor, ...]:
    """States (P, N), row scales, a kernel of this type (N, N) and column scales."""
    n, generator = PRODUCT_CELLS, _generator()
    return (
        _between(generator, states, n),
        _between(generator, n),
        _between(generator, n, n).to(dtype),
        _between(generator, n),
    )


def sweep_trial(dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    """A kernel of this type (N, N) and column scales in float64."""
    generator = _generator()
    return _between(generator, SWEEP_CELLS, SWEEP_CELLS).to(dtype), _between(generator, SWEEP_CELLS).double()


def temper_trial(dtype: torch.dtype, storage: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Attention of the first type (N, N), room for the result in the second, and a power."""
    n = SWEEP_CELLS
    attention = _between(_generator(), n, n)
    if storage == torch.float16:  # where values may be rounded to either side; of these every result is 1
        attention = torch.ones(n, n)
    return attention.to(dtype), torch.empty(n, n, dtype=storage), 1.5


def head_mean_trial(dtype: torch.dtype, channels: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, float, float]:
    """A total (N, N), queries and keys of two heads with one key more than cells, scale and weight."""
    n, generator = HEAD_CELLS, _generator()
    query = torch.randn(2, n, channels, generator=generator).to(dtype)
    key = torch.randn(2, n + 1, channels, generator=generator).to(dtype)
    return torch.zeros(n, n), query, key, channels**-0.5, 0.5


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _between(generator: torch.Generator, *shape: int) -> torch.Tensor:
    """Values between 0.1 and 1.1."""
    return torch.rand(*shape, generator=generator) + 0.1
