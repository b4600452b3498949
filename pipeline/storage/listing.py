"""All objects below a prefix in the order of their keys, without all of them in memory: fsspec lists all at once.

S3 lists in this order by itself, a page after the other. On a disk a folder is sorted when its turn comes.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from pipeline.describe import describe

KEYS_A_PAGE = 1000

Found = tuple[str, Mapping[str, Any]]
Retried = Callable[[Callable[[], Any]], Any]

log = logging.getLogger("m2n2.store")


def s3_objects(fs: Any, prefix: str, retried: Retried, after: str = "", last: str = "") -> Iterator[Found]:
    """The objects of S3 below `prefix`, in the order in which it lists them.

    Args:
        prefix: a path with the bucket, as s3fs spells it.
        retried: called with every request.
        after, last: only paths that come after the one, and not after the other where there is one; of one folder.

    Yields:
        Path, and what S3 says of the object (ETag, LastModified, and its `size`).
    """
    bucket, below, _ = fs.split_path(prefix)
    wanted: dict[str, Any] = {"Bucket": bucket, "Prefix": f"{below}/" if below else "", "MaxKeys": KEYS_A_PAGE}
    start = {"StartAfter": after.removeprefix(f"{bucket}/")} if after else {}
    while True:
        page = retried(partial(fs.call_s3, "list_objects_v2", **wanted, **start))
        for found in page.get("Contents", []):
            path = f"{bucket}/{found['Key']}"
            if last and path > last:
                return
            yield path, {**found, "size": found["Size"]}
        if not page.get("IsTruncated"):
            return
        start = {"ContinuationToken": page["NextContinuationToken"]}


def files_on_disk(folder: str, retried: Retried, after: str = "", last: str = "") -> Iterator[Found]:
    """The files below a folder, and what links there lead to, in the order that S3 would list them in.

    Links to folders are not followed. A folder that may not be read is left out, with a warning.

    Args and yields as `s3_objects`; the names of one folder are in memory at once.
    """
    for path in _paths(folder.rstrip("/"), retried):
        if last and path > last:
            return
        if path > after and (info := retried(partial(_file, path))):
            yield path, info


def _paths(folder: str, retried: Retried) -> Iterator[str]:
    for name in retried(partial(_sorted_names, folder)):
        if name.endswith("/"):
            yield from _paths(f"{folder}/{name[:-1]}", retried)
        else:
            yield f"{folder}/{name}"


def _sorted_names(folder: str) -> list[str]:
    """What is in a folder, folders with a slash at their end: so they stand where their files' keys do."""
    try:
        with os.scandir(folder or "/") as entries:
            return sorted(f"{each.name}/" if each.is_dir(follow_symlinks=False) else each.name for each in entries)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except PermissionError as error:
        log.warning("left out of a listing: %s", describe(error))
        return []


def _file(path: str) -> dict[str, Any] | None:
    try:
        found = os.stat(path)
    except FileNotFoundError:  # gone since, or a link that leads nowhere
        return None
    return {"size": found.st_size, "mtime": found.st_mtime} if stat.S_ISREG(found.st_mode) else None
