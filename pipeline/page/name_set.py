"""Very many names of which only has to be known whether one is among them: eight bytes each."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable

import numpy as np


class NameSet:
    """A set of names by their digests: with 10 million names in it, it takes one in 2e12 others for one of them."""

    def __init__(self, names: Iterable[str]) -> None:
        """Read through the names, keeping none of them."""
        self._digests = np.unique(np.frombuffer(array("Q", map(_digest, names)), np.uint64))

    def __contains__(self, name: str) -> bool:
        digest = np.uint64(_digest(name))
        at = int(np.searchsorted(self._digests, digest))
        return at < len(self._digests) and bool(self._digests[at] == digest)


def _digest(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")
