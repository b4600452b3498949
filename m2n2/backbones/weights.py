"""From what a caller says about weights to a verified directory on this machine."""

from __future__ import annotations

import os
import re
from pathlib import Path

from m2n2.backbones.manifest import MANIFEST, check_digest, check_directory, manifest_of
from m2n2.errors import InvalidWeights

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")

# What the backbones read out of a hub repository, and what would double the download.
HUB_FILES = [
    "config.json",
    "model*.safetensors*",
    "unet/config.json",
    "unet/*.safetensors*",
    "vae/config.json",
    "vae/*.safetensors*",
    "text_encoder*/config.json",
    "text_encoder*/*.safetensors*",
    "tokenizer*/special_tokens_map.json",
    "tokenizer*/tokenizer_config.json",
]
HUB_FILES_LEFT_OUT = ["*.fp16.*", "*non_ema*", "*.msgpack", "*openvino*", "*onnx*"]


def resolve_weights(spec: str | Path, cache: Path | None = None, sha256: str | None = None) -> Path:
    """A local directory of weights, every file checked against its SHA256SUMS.

    Args:
        spec: a local directory; a bare name that `m2n2 weights fetch` put into the cache; or an id of the model hub
            such as "facebook/dinov2-small".
        cache: where bare names live; None is `$M2N2_CACHE`, or ~/.cache/m2n2.
        sha256: of the SHA256SUMS that the weights must have; None accepts what is there.

    Raises:
        InvalidWeights: nothing there, an address, a file that is missing, changed, not listed or a pickle, or another
            sha256 than the expected.
    """
    directory = _find(spec, cache)
    check_directory(directory, sha256)
    return directory


def weights_digest(spec: str | Path, cache: Path | None = None) -> str:
    """The sha256 that stands for the weights. Raises InvalidWeights where nothing is there."""
    directory = _find(spec, cache)
    manifest = directory / MANIFEST
    return check_digest(manifest.read_text() if manifest.exists() else manifest_of(directory), None, directory)


def default_cache() -> Path:
    """`$M2N2_CACHE`, or ~/.cache/m2n2."""
    return Path(os.environ.get("M2N2_CACHE", "~/.cache/m2n2")).expanduser()


def is_address(spec: str | Path) -> bool:
    """Whether the weights are named by an address such as s3://bucket/weights/sd2."""
    return "://" in str(spec)


def _find(spec: str | Path, cache: Path | None) -> Path:
    if is_address(spec):
        allowed = (
            "a directory, a name in the cache or a hub id; `m2n2 weights cache ADDRESS` makes and prints a directory"
        )
        raise InvalidWeights(f"weights {str(spec)!r}: found an address; allowed: {allowed}")
    return _local_directory(spec, default_cache() if cache is None else cache) or _from_hub(str(spec))


def _local_directory(spec: str | Path, cache: Path) -> Path | None:
    """The directory itself, or the bare name's in the cache; None for what may be a hub id."""
    if Path(spec).is_dir():
        return Path(spec)
    if (cache / spec).is_dir():
        return cache / spec
    if HUB_ID.fullmatch(str(spec)):
        return None
    allowed = "a directory, a name that `m2n2 weights fetch` put there, or a hub id such as org/name"
    raise InvalidWeights(f"weights {str(spec)!r}: neither {Path(spec)} nor {cache / spec} is there; allowed: {allowed}")


def _from_hub(hub_id: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(hub_id, allow_patterns=HUB_FILES, ignore_patterns=HUB_FILES_LEFT_OUT))
    except (LocalEntryNotFoundError, HfHubHTTPError) as error:
        said = " ".join(str(error).split())
        raise InvalidWeights(f"weights {hub_id!r}: not a local directory, and the model hub said: {said}") from error
