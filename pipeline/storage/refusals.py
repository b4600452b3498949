"""What storage refuses for good, whoever asks and however often: told in plain terms."""

from __future__ import annotations

import errno

from pipeline.describe import describe

FULL = {errno.ENOSPC: "disk full", errno.EDQUOT: "disk quota used up"}
CLOSED = {
    errno.EROFS: "read-only file system",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.ENOTDIR: "a file stands where a folder is needed",
    errno.ENAMETOOLONG: "name too long",
    errno.ELOOP: "links that lead nowhere",
}


class UnusableStorage(ValueError):
    """An address or an environment with which no storage can be reached: the message says what is missing.

    Such as a protocol that nobody knows, a package that is not installed, a profile that is not configured.
    """


def refusal(error: BaseException) -> str | None:
    """Why storage will not take or give anything, such as "disk full"; None for an error of another kind."""
    if not isinstance(error, OSError):
        return None
    reason = (FULL | CLOSED).get(error.errno or 0) or (
        "permission denied" if isinstance(error, PermissionError) else ""
    )
    return f"{reason}: {describe(error)}" if reason else None


def is_full(error: BaseException) -> bool:
    """Whether room on a disk is all that is missing."""
    return isinstance(error, OSError) and error.errno in FULL
