"""What every backbone does with its arguments and with what a library says about loaded weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers.utils import logging as transformers_logging

from m2n2.errors import InvalidWeights

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


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
    h, w = (grid, grid) if isinstance(grid, int) else grid
    if h < 1 or w < 1:
        raise ValueError(f"grid is {grid!r}, allowed: a positive integer, or (h, w) of positive integers")
    return h, w


def from_safetensors(model_class: Any, directory: Path, **options: Any) -> Any:
    """A diffusers or transformers model from a local directory, refused unless every tensor fits.

    Both libraries only warn about missing tensors and leave random numbers in their place.

    Args:
        options: passed on to the library's `from_pretrained`, among them the dtype under the library's own name.

    Raises:
        InvalidWeights: no safetensors file there, one that is truncated, or tensors missing, unexpected or of
            another shape; the message names them.
    """
    if not any(directory.glob("*.safetensors")):
        found = sorted(path.name for path in directory.glob("*")) if directory.is_dir() else "no such directory"
        raise InvalidWeights(f"{directory}: found {found}, allowed: *.safetensors (pickles can run code)")
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        model, report = model_class.from_pretrained(
            directory,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **options,
        )
    except SafetensorError as error:
        raise InvalidWeights(f"{directory}: a safetensors file is truncated or corrupted ({error})") from error
    wrong = {kind: sorted(map(str, report[kind])) for kind in report if report[kind]}
    if wrong:
        raise InvalidWeights(f"{directory}: does not fit {model_class.__name__}: {wrong}")
    return model.eval().requires_grad_(False)
