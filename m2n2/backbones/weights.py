"""From what a job says about weights to a verified directory on this node."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from m2n2.backbones.manifest import MANIFEST, check_digest, check_directory, manifest_of, parse_manifest
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


def resolve_weights(
    spec: str | Path,
    cache: Path | None = None,
    storage_options: Mapping[str, Any] | None = None,
    sha256: str | None = None,
) -> Path:
    """A local directory of weights, every file checked against its SHA256SUMS.

    Args:
        spec: a local directory; a bare name that `m2n2 weights fetch` put into the cache; an id of the model hub such
            as "facebook/dinov2-small"; or object storage such as "s3://bucket/weights/sd2", which is copied to this
            node once, however many processes ask at the same time.
        cache: where bare names and copies live; None is `$M2N2_CACHE`, or ~/.cache/m2n2.
        storage_options: passed to fsspec, such as {"endpoint_url": ...}.
        sha256: of the SHA256SUMS that the weights must have; None accepts what is there.

    Raises:
        InvalidWeights: nothing there, no SHA256SUMS in object storage, a file that is missing, changed, not listed or
            a pickle, or another sha256 than the expected.
    """
    cache = default_cache() if cache is None else cache
    if is_url(spec):
        directory = _copy_once(str(spec), cache, storage_options or {}, sha256)
    else:
        directory = _local_directory(spec, cache) or _from_hub(str(spec))
    check_directory(directory, sha256)
    return directory


def weights_digest(
    spec: str | Path, cache: Path | None = None, storage_options: Mapping[str, Any] | None = None
) -> str:
    """The sha256 that stands for the weights, without copying them out of object storage.

    Raises:
        InvalidWeights: nothing there, or no SHA256SUMS in object storage.
    """
    if is_url(spec):
        return check_digest(_remote_manifest(str(spec), storage_options or {}), None, spec)
    directory = _local_directory(spec, default_cache() if cache is None else cache) or _from_hub(str(spec))
    manifest = directory / MANIFEST
    return check_digest(manifest.read_text() if manifest.exists() else manifest_of(directory), None, directory)


def upload_weights(directory: Path, url: str, storage_options: Mapping[str, Any] | None = None) -> None:
    """Copy a directory that has a SHA256SUMS to object storage; the manifest goes last, so a partial copy has none."""
    filesystem, root = _open_storage(url, storage_options or {})
    for name in [*parse_manifest((directory / MANIFEST).read_text(), directory), MANIFEST]:
        filesystem.makedirs(f"{root}/{name}".rpartition("/")[0], exist_ok=True)
        filesystem.put_file(str(directory / name), f"{root}/{name}")


def default_cache() -> Path:
    """`$M2N2_CACHE`, or ~/.cache/m2n2."""
    return Path(os.environ.get("M2N2_CACHE", "~/.cache/m2n2")).expanduser()


def is_url(spec: str | Path) -> bool:
    """Whether the weights are in object storage."""
    return "://" in str(spec)


def _local_directory(spec: str | Path, cache: Path) -> Path | None:
    """The directory itself, or the bare name's in the cache; None for what may be a hub id."""
    if Path(spec).is_dir():
        return Path(spec)
    if (cache / spec).is_dir():
        return cache / spec
    if HUB_ID.fullmatch(str(spec)):
        return None
    allowed = "a directory, a name that `m2n2 weights fetch` put there, a hub id such as org/name, or a URL"
    raise InvalidWeights(f"weights {str(spec)!r}: neither {Path(spec)} nor {cache / spec} is there; allowed: {allowed}")


def _from_hub(hub_id: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(hub_id, allow_patterns=HUB_FILES, ignore_patterns=HUB_FILES_LEFT_OUT))
    except (LocalEntryNotFoundError, HfHubHTTPError) as error:
        raise InvalidWeights(f"weights {hub_id!r}: not a local directory, and the model hub said: {error}") from error


def _copy_once(url: str, cache: Path, storage_options: Mapping[str, Any], sha256: str | None) -> Path:
    """The node's copy, made under a lock and put in place by one rename."""
    from filelock import FileLock

    manifest = _remote_manifest(url, storage_options)
    digest = check_digest(manifest, sha256, url)
    directory = cache / "by-sha256" / digest
    directory.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(directory.with_suffix(".lock")):
        if not directory.exists():
            partial = Path(tempfile.mkdtemp(prefix=f"{digest}.", dir=directory.parent))
            try:
                _download(url, storage_options, manifest, partial)
                partial.rename(directory)
            except BaseException:
                shutil.rmtree(partial)
                raise
    return directory


def _download(url: str, storage_options: Mapping[str, Any], manifest: str, directory: Path) -> None:
    filesystem, root = _open_storage(url, storage_options)
    for name in parse_manifest(manifest, url):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            filesystem.get_file(f"{root}/{name}", str(directory / name))
        except FileNotFoundError as error:
            raise InvalidWeights(f"{url}: {name} is listed in {MANIFEST} but not there") from error
    (directory / MANIFEST).write_text(manifest)
    check_directory(directory)


def _remote_manifest(url: str, storage_options: Mapping[str, Any]) -> str:
    filesystem, root = _open_storage(url, storage_options)
    try:
        return str(filesystem.cat_file(f"{root}/{MANIFEST}").decode())
    except FileNotFoundError as error:
        hint = "`m2n2 weights fetch NAME --to URL` writes it"
        raise InvalidWeights(f"{url}: found no {MANIFEST}, which lists the files and their sha256; {hint}") from error


def _open_storage(url: str, storage_options: Mapping[str, Any]) -> tuple[Any, str]:
    import fsspec

    filesystem, root = fsspec.core.url_to_fs(url, **storage_options)
    return filesystem, str(root).rstrip("/")
