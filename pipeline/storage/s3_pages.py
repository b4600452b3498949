"""A listing of S3 that begins and ends anywhere, a page after the other: fsspec lists all of a prefix at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

KEYS_A_PAGE = 1000


def is_s3(fs: Any) -> bool:
    """Whether a file system of fsspec is one of S3."""
    return "s3" in (fs.protocol if isinstance(fs.protocol, tuple) else (fs.protocol,))


def s3_objects(
    fs: Any, prefix: str, after: str, last: str, retried: Callable[[Callable[[], Any]], Any]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The objects below `prefix` whose paths come after `after` and not after `last`, in S3's order.

    Args:
        prefix, after, last: paths with the bucket, as s3fs spells them.
        retried: called with every request.

    Yields:
        Path, and what S3 says of the object (Size, ETag, LastModified).
    """
    bucket, below, _ = fs.split_path(prefix)
    wanted: dict[str, Any] = {"Bucket": bucket, "Prefix": f"{below}/", "MaxKeys": KEYS_A_PAGE}
    start = {"StartAfter": after.removeprefix(f"{bucket}/")}
    while True:
        request = wanted | start
        page = retried(lambda request=request: fs.call_s3("list_objects_v2", **request))  # type: ignore[misc]
        for found in page.get("Contents", []):
            path = f"{bucket}/{found['Key']}"
            if path > last:
                return
            yield path, found
        if not page.get("IsTruncated"):
            return
        start = {"ContinuationToken": page["NextContinuationToken"]}
