"""What the words of a job mean: a device's and a dtype's name, a grid's size."""

from __future__ import annotations

import platform
from numbers import Integral

import torch

from m2n2.errors import InvalidDevice

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def check_device(name: str) -> None:
    """Refuse a device that is not there, before anything is loaded for it.

    Raises:
        InvalidDevice: PyTorch does not know the name, or sees no such device on this machine.
    """
    try:
        kind = torch.device(name).type
    except RuntimeError as error:
        raise InvalidDevice(f"device {name!r}: {str(error).splitlines()[0]}") from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise InvalidDevice(f"device {name!r}: PyTorch sees no CUDA device on {platform.node()}; allowed here: cpu")


def torch_dtype(name: str) -> torch.dtype:
    """The dtype a job names.

    Raises:
        ValueError: not float32, float16 or bfloat16.
    """
    if name not in DTYPES:
        raise ValueError(f"dtype is {name!r}, allowed: {', '.join(DTYPES)}")
    return DTYPES[name]


def grid_shape(grid: int | tuple[int, int]) -> tuple[int, int]:
    """`grid` as (h, w) cells.

    Raises:
        ValueError: not a positive integer or a pair of them.
    """
    sides = grid if isinstance(grid, tuple | list) else (grid, grid)
    if len(sides) != 2 or not all(map(_is_positive_integer, sides)):
        raise ValueError(f"grid is {grid!r}, allowed: a positive integer, or (h, w) of positive integers")
    return int(sides[0]), int(sides[1])


def _is_positive_integer(side: object) -> bool:
    return isinstance(side, Integral) and not isinstance(side, bool) and int(side) >= 1
