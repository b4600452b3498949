"""How `images:` names containers, and which key means which image of which: `shard-01.tar/cats/7.jpg`."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

TAR, PARQUET = ".tar", ".parquet"
WILD = re.compile(r"[*?\[]")
COMPRESSED = re.compile(r"\.(tgz|tar\.\w+)$")


def suffix_of(images: str) -> str | None:
    """`.tar` or `.parquet` where an address or pattern names containers: it ends so, without a slash. Else None."""
    return next((suffix for suffix in (TAR, PARQUET) if images.endswith(suffix)), None)


def root_of(images: str) -> str:
    """The folder below which keys are: all of the address, or what stands before the first wildcard or container."""
    if suffix_of(images) is None:
        return images
    front, separator, path = images.rpartition("://")
    segments = path.split("/")
    wild = next((at for at, each in enumerate(segments) if WILD.search(each)), len(segments) - 1)
    return front + separator + "".join(f"{each}/" for each in segments[:wild])


def problem_with(images: str) -> str | None:
    """Why an address of images is refused, or None."""
    last, suffix = images.rpartition("/")[2], suffix_of(images)
    if COMPRESSED.search(last):
        return "a compressed tar can only be read from its beginning; allowed: plain .tar"
    if "{" in last and suffix:
        return f"braces are no pattern here; allowed: *, ? and [], such as shard-*{suffix}"
    if not suffix and WILD.search(last):
        return "a pattern of images; allowed: a folder, or containers such as shards/*.tar, data/*.parquet"
    return None


def container_and_member(key: str, suffix: str) -> tuple[str, str] | None:
    """The container's key and the member's name; None where the key names no member of such a container."""
    segments = key.split("/")
    for at, each in enumerate(segments[:-1]):
        if each.endswith(suffix):
            return "/".join(segments[: at + 1]), "/".join(segments[at + 1 :])
    return None


def matches(container: str, images: str) -> bool:
    """Whether a container's key below the root of `images` is among those that `images` names."""
    wanted = images.removeprefix(root_of(images)).split("/")
    found = container.split("/")
    return len(found) == len(wanted) and all(map(fnmatchcase, found, wanted))
