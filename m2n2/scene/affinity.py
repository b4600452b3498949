"""What gives maps from start states: the attention's operator or its raw rows, or the chain of the keys."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from m2n2.attention_map import attention_maps
from m2n2.errors import InvalidAttention
from m2n2.markov_map import markov_maps
from m2n2.refined.key_affinity import SpectralChain, key_chain
from m2n2.settings import Settings
from m2n2.transition import transition_operator

PointMaps = Callable[[torch.Tensor, Settings], torch.Tensor]  # from start states (P, N) to maps on the grid (P, N)


@dataclass(frozen=True)
class Affinity:
    """What an image's cells have to do with each other.

    Attributes:
        maps: None where its memory was released.
        grid: (rows, columns) of the N cells.
        device: where maps are made.
        size_bytes: of the N x N tensor or of the keys.
        chain: of the keys; small, so it stays when `maps` is released. None of attention.
    """

    maps: PointMaps | None
    grid: tuple[int, int]
    device: torch.device
    size_bytes: int
    chain: SpectralChain | None = None


def read_affinity(attention: torch.Tensor | np.ndarray, settings: Settings, overwrite: bool) -> Affinity:
    """Make the transition operator, or the chain of the keys.

    Args:
        attention: as `Scene` takes it.
        overwrite: let the operator use the attention's memory.

    Raises:
        InvalidAttention: with what is wrong.
    """
    if settings.affinity == "keys":
        keys_LNC, grid = _as_keys(attention)
        chain = key_chain(keys_LNC, settings)
        return Affinity(chain.maps, grid, keys_LNC.device, keys_LNC.nbytes, chain)
    attention_NN, grid = _as_matrix(attention)
    maps = _point_maps(attention_NN, settings, overwrite)
    return Affinity(maps, grid, attention_NN.device, attention_NN.nbytes)


def _point_maps(attention_NN: torch.Tensor, settings: Settings, overwrite: bool) -> PointMaps:
    if settings.map == "attention":
        return lambda starts_PN, _: attention_maps(attention_NN, starts_PN)
    operator = transition_operator(attention_NN, settings, overwrite=overwrite)
    return lambda starts_PN, settings: markov_maps(operator, starts_PN, settings)


def _as_matrix(attention: torch.Tensor | np.ndarray) -> tuple[torch.Tensor, tuple[int, int]]:
    """Attention as (N, N) and its grid (rows, columns), without a copy."""
    if isinstance(attention, np.ndarray):
        tensor = torch.from_numpy(np.require(attention, requirements="W"))  # torch has no read-only tensors
    elif isinstance(attention, torch.Tensor):
        tensor = attention.detach()
    else:
        raise InvalidAttention(f"attention must be an array or a tensor, not {type(attention).__name__}")
    shape = tuple(tensor.shape)
    if len(shape) == 4 and shape[:2] == shape[2:] and min(shape) > 0:
        cells = shape[0] * shape[1]
        return tensor.reshape(cells, cells), (shape[0], shape[1])
    if len(shape) == 2 and shape[0] == shape[1] and shape[0] > 0 and math.isqrt(shape[0]) ** 2 == shape[0]:
        return tensor, (math.isqrt(shape[0]), math.isqrt(shape[0]))
    raise InvalidAttention(f"attention must be (h, w, h, w), or (N, N) of a square grid, not {shape}")


def _as_keys(keys: torch.Tensor | np.ndarray) -> tuple[torch.Tensor, tuple[int, int]]:
    """Keys as (layers, N, channels) and their grid (rows, columns), without a copy."""
    tensor = torch.from_numpy(np.require(keys, requirements="W")) if isinstance(keys, np.ndarray) else keys.detach()
    if tensor.ndim != 4 or tensor.numel() == 0:
        raise InvalidAttention(f"keys must be (layers, h, w, channels), not {tuple(tensor.shape)}")
    return tensor.flatten(1, 2), (tensor.shape[1], tensor.shape[2])
