"""How `images:` names tars, and which key means which member of which: `shard-01.tar/cats/7.jpg`."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

TAR = ".tar"
WILD = re.compile(r"[*?\[]")
COMPRESSED = re.compile(r"\.(tgz|tar\.\w+)$")


def is_tars(images: str) -> bool:
    """Whether an address or pattern names tars: it ends with `.tar`, without a slash."""
    return images.endswith(TAR)


def root_of(images: str) -> str:
    """The folder below which keys are: all of the address, or what stands before the first wildcard or the tar."""
    if not is_tars(images):
        return images
    front, separator, path = images.rpartition("://")
    segments = path.split("/")
    wild = next((at for at, each in enumerate(segments) if WILD.search(each)), len(segments) - 1)
    return front + separator + "".join(f"{each}/" for each in segments[:wild])


def problem_with(images: str) -> str | None:
    """Why an address of images is refused, or None."""
    last = images.rpartition("/")[2]
    if COMPRESSED.search(last):
        return "a compressed tar can only be read from its beginning; allowed: plain .tar"
    if "{" in last and is_tars(images):
        return "braces are no pattern here; allowed: *, ? and [], such as shard-*.tar"
    if not is_tars(images) and WILD.search(last):
        return "a pattern of images; allowed: a folder, or tars such as shards/*.tar"
    return None


def tar_and_member(key: str) -> tuple[str, str] | None:
    """The tar's key and the member's name; None where the key names no member of a tar."""
    segments = key.split("/")
    for at, each in enumerate(segments[:-1]):
        if each.endswith(TAR):
            return "/".join(segments[: at + 1]), "/".join(segments[at + 1 :])
    return None


def matches(tar: str, images: str) -> bool:
    """Whether a tar's key below the root of `images` is among those that `images` names."""
    wanted = images.removeprefix(root_of(images)).split("/")
    found = tar.split("/")
    return len(found) == len(wanted) and all(map(fnmatchcase, found, wanted))
