"""One image, one key: the normal form of what click files call an image, made once, before anything is planned.

- A full address below the job's `images` root becomes the key below it. Protocols may be in capitals, `s3a://` and
  `s3n://` are `s3://`, `gcs://` is `gs://`, and `/data/a.jpg` is `file:///data/a.jpg`. Nothing is percent-decoded.
- A segment `.` means nothing, on every storage; neither does a `/` at the end.
- `//` is `/` on a disk. In an object store a key may have it, and is another object than the one without it, so it
  stays there.
- What is ambiguous is no key: `..`, a backslash, another root, a `/` in front. It stays as it was written, and
  `outside_root` says why.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from functools import lru_cache

import pyarrow as pa

from pipeline.storage.reach import SAME_PROTOCOL

UNUSUAL = re.compile(r"^/|/$|//|(^|/)\.{1,2}(/|$)")  # all other keys are in normal form
WITH_PROTOCOL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)


def normal_keys(images: pa.Array, roots: Sequence[str]) -> pa.Array:
    """The normal form of every image of a column, as `normal_key` makes it."""
    encoded = images.dictionary_encode()
    normal = pa.array([normal_key(key, *roots) for key in encoded.dictionary.to_pylist()], pa.string())
    return normal.take(encoded.indices)


def normal_key(image: str, root: str, *root_as_written: str) -> str:
    """The key below `root` of an image, or the normal form of an address that is not below it.

    Args:
        root_as_written: the relative path that stands in the job's file for the root: names below it are keys too.
    """
    if not root_as_written and not UNUSUAL.search(image):
        return image
    protocol, path = _address(image)
    root_protocol, root_path = _absolute(root)
    if protocol is None:
        key = _clean(path, root_protocol) or image
        prefixes = [f"{_clean(written, root_protocol)}/" for written in root_as_written if _address(written)[0] is None]
        return next((key.removeprefix(prefix) for prefix in prefixes if key.startswith(prefix)), key)
    clean = _clean(path, protocol)
    below = clean.removeprefix(root_path.rstrip("/") + "/")
    if protocol == root_protocol and below != clean and outside_root(below) is None:
        return below
    on_disk = protocol == "file" and (root_protocol == "file" or image.startswith("/"))
    return (clean or "/") if on_disk else f"{protocol}://{clean}"


def outside_root(key: str) -> str | None:
    """Why an image key would leave the images root, or None where it stays below it."""
    if "://" in key or "::" in key:
        return "it is an address of its own"
    if key.startswith("/"):
        return "it is an absolute path"
    if "\\" in key or "\0" in key:
        return "it has a backslash or a zero byte"
    if ".." in key.split("/"):
        return "it climbs out of the root with '..'"
    if all(segment in ("", ".") for segment in key.split("/")):
        return "it is the root itself"
    return None


@lru_cache(maxsize=8)
def _absolute(root: str) -> tuple[str, str]:
    protocol, path = _address(root)
    if protocol in (None, "file"):
        return "file", _clean(os.path.abspath(os.path.expanduser(path)), "file")
    assert protocol is not None, "only a path on a disk has no protocol"
    return protocol, _clean(path, protocol)


def _address(text: str) -> tuple[str | None, str]:
    """Protocol and path; no protocol means relative to something."""
    if found := WITH_PROTOCOL.fullmatch(text):
        protocol = found[1].lower()
        return SAME_PROTOCOL.get(protocol, protocol), found[2]
    return ("file" if text.startswith("/") else None), text


def _clean(path: str, protocol: str) -> str:
    front = "/" if path.startswith("/") else ""
    segments = [each for each in path[len(front) :].split("/") if each != "."]
    if protocol == "file":
        segments = [each for each in segments if each]
    return (front + "/".join(segments)).rstrip("/")
