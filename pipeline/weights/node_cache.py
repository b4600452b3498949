"""A node's copy of weights that are in object storage: made once, checked, and put in place by one rename."""

from __future__ import annotations

import logging
import shutil
import tempfile
from pathlib import Path

from filelock import FileLock

from m2n2.backbones.manifest import MANIFEST, check_digest, check_directory, parse_manifest
from m2n2.backbones.weights import default_cache, is_address
from m2n2.backbones.weights import weights_digest as digest_on_this_machine
from m2n2.errors import InvalidWeights
from pipeline.storage.filesystem import Storage
from pipeline.storage.store import Store

log = logging.getLogger("m2n2.weights")


def weights_on_this_node(spec: str, storage: Storage, sha256: str | None = None, cache: Path | None = None) -> str:
    """What `load_backbone` takes as `weights`: a copy on this node's disk of what is in object storage.

    However many processes of a node ask at the same time, one of them copies. A copy that was damaged since is made
    again. What is no address is returned as it is.

    Args:
        spec: an address such as "s3://bucket/weights/sd2", or anything that `load_backbone` understands by itself.
        storage: how object storage is reached; its retries apply.
        sha256: of the SHA256SUMS that the weights must have; None accepts what is there.
        cache: where copies live; None is `$M2N2_CACHE`, or ~/.cache/m2n2.

    Raises:
        InvalidWeights: no SHA256SUMS there, a listed file that is missing or changed, or another sha256.
        StoreUnavailable: storage did not answer for `storage.give_up_s`.
        PermissionError: the credentials do not allow it.
    """
    if not is_address(spec):
        return spec
    store = Store(spec, storage)
    manifest = _read_manifest(store)
    digest = check_digest(manifest, sha256, spec)
    directory = (default_cache() if cache is None else cache) / "by-sha256" / digest
    directory.parent.mkdir(parents=True, exist_ok=True)
    if directory.exists() and _is_sound(directory):
        return str(directory)
    with FileLock(directory.with_suffix(".lock")):
        if directory.exists() and not _is_sound(directory):
            shutil.rmtree(directory)
        if not directory.exists():
            partial = Path(tempfile.mkdtemp(prefix=f"{digest}.", dir=directory.parent))
            try:
                _download(store, manifest, partial)
                partial.rename(directory)
            except BaseException:
                shutil.rmtree(partial)
                raise
    return str(directory)


def weights_digest(spec: str, storage: Storage) -> str:
    """The sha256 that stands for the weights, without copying them out of object storage.

    Raises:
        InvalidWeights: nothing there, or no SHA256SUMS in object storage.
        StoreUnavailable: storage did not answer for `storage.give_up_s`.
    """
    if not is_address(spec):
        return digest_on_this_machine(spec)
    return check_digest(_read_manifest(Store(spec, storage)), None, spec)


def upload_weights(directory: Path, address: str, storage: Storage) -> None:
    """Copy a directory that has a SHA256SUMS to object storage; the manifest goes last, so a partial copy has none."""
    store = Store(address, storage)
    for name in [*parse_manifest((directory / MANIFEST).read_text(), directory), MANIFEST]:
        store.put_file(name, directory / name)


def _is_sound(directory: Path) -> bool:
    """Whether the copy is still what was copied: disks go bad, and people tidy up in caches."""
    try:
        check_directory(directory)
    except (InvalidWeights, OSError) as error:
        log.warning("weights are copied again: %s", error)
        return False
    return (directory / MANIFEST).exists()


def _download(store: Store, manifest: str, directory: Path) -> None:
    for name in parse_manifest(manifest, store.root):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            store.get_file(name, directory / name)
        except FileNotFoundError as error:
            raise InvalidWeights(f"{store.root}: {name} is listed in {MANIFEST} but not there") from error
    (directory / MANIFEST).write_text(manifest)
    check_directory(directory)


def _read_manifest(store: Store) -> str:
    try:
        return store.read(MANIFEST).decode()
    except FileNotFoundError as error:
        hint = "`m2n2 weights fetch NAME --to ADDRESS` writes it"
        raise InvalidWeights(
            f"{store.root}: found no {MANIFEST}, which lists the files and their sha256; {hint}"
        ) from error
