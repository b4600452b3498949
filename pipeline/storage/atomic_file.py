"""Files on a disk that appear whole or not at all, as objects in a store do.

The bytes are written and synced under a name of their own beside the target, which listings leave out (`is_temporary`).
A rename then replaces the target; a hard link creates it, and is refused where it is there. A process killed at any
moment leaves at most a `.tmp-` file behind.
"""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from pathlib import Path

from pipeline.storage.refusals import UnusableStorage

COPIED_AT_ONCE = 1 << 20
NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL}


def create_file(path: Path, data: bytes | Path) -> bool:
    """Create a file with these bytes, or those of another file; False, and nothing changed, where it is there."""
    temporary = _temporary_beside(path)
    try:
        _write(temporary, data, synced=True)
        # A hard link either makes the whole file appear under its name or fails because the name is taken.
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in NO_HARD_LINKS:
            raise
        found = f"{path.parent}: this file system has no hard links, by which files are created whole and only once"
        raise UnusableStorage(f"{found}; allowed: another file system, or object storage") from error
    finally:
        temporary.unlink(missing_ok=True)
    return True


def replace_file(path: Path, data: bytes | Path, *, synced: bool = True) -> None:
    """Create or replace a file with these bytes, or those of another file; not `synced`: nobody waits for the disk."""
    temporary = _temporary_beside(path)
    try:
        _write(temporary, data, synced)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def is_temporary(name: str) -> bool:
    """Whether a file or object is one of ours in the making, or the probe of a store."""
    return name.rsplit("/", 1)[-1].startswith((".tmp-", ".probe-"))


def _temporary_beside(path: Path) -> Path:
    """A new name in the same folder, which is made if it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.parent / f".tmp-{uuid.uuid4().hex}"


def _write(path: Path, data: bytes | Path, synced: bool) -> None:
    with path.open("xb") as file:
        if isinstance(data, Path):
            with data.open("rb") as source:
                shutil.copyfileobj(source, file, COPIED_AT_ONCE)
        else:
            file.write(data)
        if synced:
            file.flush()
            os.fsync(file.fileno())
