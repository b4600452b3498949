"""A small directory of weights with its manifest, and the ways in which one can be spoiled."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file

from m2n2.backbones.manifest import MANIFEST, manifest_of


def write_weights(root: Path) -> Path:
    (root / "unet").mkdir(parents=True)
    (root / "unet" / "config.json").write_text(json.dumps({"layers": 2}))
    save_file({"a": torch.arange(1000.0)}, root / "unet" / "diffusion_pytorch_model.safetensors")
    (root / MANIFEST).write_text(manifest_of(root))
    return root


def digest_of(directory: Path) -> str:
    return hashlib.sha256((directory / MANIFEST).read_bytes()).hexdigest()


def change_a_file(root: Path) -> None:
    (root / "unet" / "config.json").write_text("{}")


def remove_a_file(root: Path) -> None:
    (root / "unet" / "config.json").unlink()


def list_a_pickle(root: Path) -> None:
    (root / MANIFEST).write_text(f"{'0' * 64}  unet/model.bin\n")


def list_a_file_elsewhere(root: Path) -> None:
    (root / MANIFEST).write_text(f"{'0' * 64}  ../secret.json\n")


def replace_the_manifest(root: Path) -> None:
    (root / MANIFEST).write_text("<html>not found</html>")


SPOILED: list[tuple[Callable[[Path], None], str]] = [
    (change_a_file, r"sha256 of unet/config\.json is 44136fa"),
    (remove_a_file, r"unet/config\.json is (missing|listed in SHA256SUMS but not there)"),
    (list_a_pickle, r"unet/model\.bin, allowed: .*pickles"),
    (list_a_file_elsewhere, "allowed: names inside the directory"),
    (replace_the_manifest, "found line '<html>"),
]
