"""Models from local safetensors, refused unless every tensor fits.

Both libraries only warn about tensors that are missing, and leave random numbers in their place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers.utils import logging as transformers_logging

from m2n2.errors import InvalidWeights

# Files of the model itself, whole or in shards; not its variants such as model.fp16.safetensors.
TRANSFORMERS_FILE = re.compile(r"model(-\d+-of-\d+)?\.safetensors")
DIFFUSERS_FILE = re.compile(r"diffusion_pytorch_model(-\d+-of-\d+)?\.safetensors")

# Attention's names in VAEs published before diffusers renamed them; those of SD1.5 and SD2 have them.
OLD_VAE_NAMES = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}


def load_transformers(model_class: Any, directory: Path, dtype: torch.dtype, **options: Any) -> Any:
    """A model of transformers, ready for inference on the CPU.

    Args:
        options: passed on to `from_pretrained`.

    Raises:
        InvalidWeights: no config or safetensors there, a truncated file, or tensors that are missing, unexpected or
            of another shape; the message names them.
    """
    _model_files(directory, TRANSFORMERS_FILE)
    transformers_logging.disable_progress_bar()
    try:
        model, report = model_class.from_pretrained(
            directory,
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **options,
        )
    except SafetensorError as error:
        raise InvalidWeights(f"{directory}: a safetensors file is truncated or corrupted ({error})") from error
    # Text encoders saved by old versions hold 0, 1, 2, … as a tensor; not every version of the library drops it.
    unexpected = [name for name in report["unexpected_keys"] if not name.endswith(".position_ids")]
    _refuse_misfits(directory, report["missing_keys"], unexpected, report["mismatched_keys"])
    return model.eval().requires_grad_(False)


def load_diffusers(model_class: Any, directory: Path, dtype: torch.dtype, without: Iterable[str] = ()) -> Any:
    """A model of diffusers, ready for inference on the CPU.

    Its own `from_pretrained` would first draw as many random numbers as there are parameters, unless accelerate is
    installed; here the tensors of the file become the parameters.

    Args:
        without: submodules that are left out, such as a VAE's "decoder".

    Raises:
        InvalidWeights: as `load_transformers`.
    """
    files = _model_files(directory, DIFFUSERS_FILE)
    with torch.device("meta"):
        model = model_class.from_config(model_class.load_config(directory))
    for part in without:
        setattr(model, part, None)
    expected = model.state_dict()
    tensors = {}
    for file in files:
        for name, tensor in _read(file).items():
            if name.partition(".")[0] not in without:
                tensors[_new_name(name)] = tensor.to(dtype)
    mismatched = {name for name in tensors.keys() & expected.keys() if tensors[name].shape != expected[name].shape}
    _refuse_misfits(directory, expected.keys() - tensors.keys(), tensors.keys() - expected.keys(), mismatched)
    model.load_state_dict(tensors, assign=True)
    return model.eval().requires_grad_(False)


def _model_files(directory: Path, pattern: re.Pattern[str]) -> list[Path]:
    found = sorted(path.name for path in directory.glob("*")) if directory.is_dir() else []
    files = [directory / name for name in found if pattern.fullmatch(name)]
    if not files or "config.json" not in found:
        allowed = f"config.json and {pattern.pattern} (never pickles: they can run code)"
        raise InvalidWeights(f"{directory}: found {found or 'nothing'}, allowed: {allowed}")
    return files


def _read(file: Path) -> Mapping[str, torch.Tensor]:
    try:
        return load_file(file)
    except SafetensorError as error:
        raise InvalidWeights(f"{file}: truncated or corrupted ({error})") from error


def _new_name(name: str) -> str:
    for old, new in OLD_VAE_NAMES.items():
        name = name.replace(old, new)
    return name


def _refuse_misfits(
    directory: Path, missing: Iterable[Any], unexpected: Iterable[Any], mismatched: Iterable[Any]
) -> None:
    misfits = {"missing": missing, "unexpected": unexpected, "of another shape": mismatched}
    named = {kind: sorted(map(str, names)) for kind, names in misfits.items() if names}
    if named:
        raise InvalidWeights(f"{directory}: tensors do not fit config.json: {named}")
